// A checkpoint directory in the release layout, checked against the tensor table and read in place.
//
//   config.json, model.safetensors.index.json + shards (or one model.safetensors), encoding/encoding_dsv4.py (optional)
//
// Shards are mapped, not read: opening touches headers only. Values are checked when they are read: NaN scales, NaN or
// infinite weights and out-of-range expert ids are errors that name the tensor.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "files/file_set.h"
#include "files/safetensors.h"
#include "weights/config.h"
#include "weights/tensor_table.h"

namespace hadal {

// Reasoning-effort names and texts differ between the two generations of chat format; nothing in config.json tells them
// apart.
enum class ChatGeneration : std::uint8_t { kPreview, k0731 };

// From the text of the release's encoding/encoding_dsv4.py, which is never run: REASONING_EFFORT_PROMPTS with
// DEFAULT_REASONING_EFFORT = "low" at top level mean 0731, anything else preview. `reason` gets the evidence.
ChatGeneration detect_chat_generation(std::string_view encoding_py, std::string* reason);

struct StoredTensor {
  std::string name;  // release name; the stored one may be an older spelling
  std::string stored_name;
  std::size_t shard = 0;
  DType dtype = DType::kU8;
  std::vector<std::int64_t> shape;  // stored
  std::uint64_t bytes = 0;
  Bytes data;  // empty if the shard holds its header only
};

class Checkpoint {
 public:
  // Fails on the first thing hadal could not run: the error names file, tensor and remedy.
  static Result<std::shared_ptr<const Checkpoint>> open(FileSet files);
  static Result<std::shared_ptr<const Checkpoint>> open(const std::string& directory) {
    return open(FileSet::directory(directory));
  }

  // For listings and plans: fails only without a usable config.json or index; everything else is in problems(). Shards
  // may be cut off after their headers.
  static Result<std::shared_ptr<const Checkpoint>> open_for_inspection(FileSet files);
  static Result<std::shared_ptr<const Checkpoint>> open_for_inspection(const std::string& directory) {
    return open_for_inspection(FileSet::directory(directory));
  }

  const std::string& directory() const { return files_.label(); }
  const FileSet& files() const { return files_; }  // tokenizer.json and generation_config.json lie beside the weights
  const ModelConfig& config() const { return config_; }
  const TensorTable& table() const { return table_; }
  bool has_mtp() const { return has_mtp_; }  // a one-step MTP block is stored, whole
  ChatGeneration chat_generation() const { return chat_generation_; }
  const std::string& chat_generation_reason() const { return chat_generation_reason_; }

  const std::vector<Error>& problems() const { return problems_; }
  bool headers_only() const { return headers_only_; }  // some shard lacks data
  struct Shard {
    std::string file;  // name inside the directory
    std::uint64_t file_bytes = 0;
    std::unique_ptr<SafetensorsFile> content;  // null if it could not be opened
  };
  const std::vector<Shard>& shards() const { return shards_; }
  // Every stored tensor by release name, scales included.
  const std::map<std::string, StoredTensor, std::less<>>& stored() const { return stored_; }
  // Names in the shards beyond the table, by what they are.
  const std::vector<std::string>& ignored() const { return ignored_; }    // redundant copies of Base checkpoints
  const std::vector<std::string>& draft() const { return draft_; }        // DSpark
  const std::vector<std::string>& unlisted() const { return unlisted_; }  // in a shard but not in the index

  // A stored tensor by release name (weights and scales); kNotFound otherwise.
  Result<const StoredTensor*> find(std::string_view name) const;

  // The tensor's exact values, row-major, logical shape of the table: E4M3 or E2M1 code times block scale, or plain
  // BF16, F32, I64. E4M3 x F32 products are exact in double. `name` is the weight's release name.
  Result<std::vector<double>> dequantise(std::string_view name) const;
  Result<std::vector<double>> dequantise(const TensorSpec& spec) const;
  // The same for tensors that have no scale; kUsage for one that does.
  Result<std::vector<double>> values(std::string_view name) const;

  // Reads the whole tensor and its scale once and checks every value (hadal inspect --verify). `digest`, if not null,
  // gets the XXH3-64 of the stored bytes, weight then scale.
  Status verify(const TensorSpec& spec, std::uint64_t* digest = nullptr) const;

  // XXH3-64 over configuration, tensor table and samples of content; the same for any sharding
  // (docs/formats/fingerprint.md).
  std::uint64_t fingerprint() const;

  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

 private:
  Checkpoint(FileSet files, ModelConfig config);
  Status read_shards();
  void check_tensors();
  void check_tensor(const TensorSpec& spec);
  void read_chat_generation();

  FileSet files_;
  ModelConfig config_;
  TensorTable table_;
  std::vector<Shard> shards_;
  std::map<std::string, StoredTensor, std::less<>> stored_;
  std::vector<std::string> ignored_, draft_, unlisted_;
  std::vector<Error> problems_;
  bool headers_only_ = false;
  bool has_mtp_ = false;
  ChatGeneration chat_generation_ = ChatGeneration::kPreview;
  std::string chat_generation_reason_;
};

}  // namespace hadal
