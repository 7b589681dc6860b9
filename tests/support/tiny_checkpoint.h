// Random checkpoints in the release layout, small enough to write and run in milliseconds. Weights are drawn so that
// every branch matters: sinks, biases, position biases, hyper-connections and the SwiGLU clamp are all non-trivial.
//
//   TinyCheckpoint tiny = TinyCheckpoint::generate(tiny_flash());
//   tiny.find("layers.0.attn.wq_a.scale")->bytes[0] = 255;        // break it
//   TemporaryFolder folder; tiny.write(folder.path());
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "files/safetensors.h"
#include "weights/config.h"

namespace hadal::test {

// A fresh directory under the system's temporary folder, removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  // Writes a file inside, folders included.
  std::string write(const std::string& name, const std::string& text) const;

 private:
  std::string path_;
};

struct TinyShape {
  std::int64_t vocab_size = 128, hidden_size = 128, num_hash_layers = 1;
  std::vector<std::int64_t> compress_ratios = {0, 4, 128, 4};  // main layers; the MTP block's 0 is added
  bool mtp = true;
  std::int64_t num_attention_heads = 4, head_dim = 128, qk_rope_head_dim = 64, q_lora_rank = 64;
  std::int64_t o_groups = 2, o_lora_rank = 32, sliding_window = 16;
  std::int64_t index_n_heads = 4, index_head_dim = 64, index_topk = 8;
  std::int64_t n_routed_experts = 4, num_experts_per_tok = 2, moe_intermediate_size = 64;
  double routed_scaling_factor = 1.5, swiglu_limit = 1.25;
  std::int64_t hc_mult = 4, hc_sinkhorn_iters = 20;
  bool fp8_experts = false;  // Base: FP8 experts
  bool f32_scales = false;   // Base: scales that are not powers of two, and copies of embed and head in the MTP block
  bool plain = false;        // everything F32, no scales
  bool dspark = false;       // draft tensors and dspark_* keys instead of the MTP block
  std::string chat_generation;  // "preview" or "0731": writes encoding/encoding_dsv4.py; empty: none
  int shards = 1;
};

TinyShape tiny_flash();  // SWA, CSA, HCA; hash layer; FP4 experts
TinyShape tiny_pro();    // HCA first; head size 192; three shards and an index
TinyShape tiny_base();   // FP8 experts, F32 scales, redundant copies
TinyShape tiny_odd();    // no size is a multiple of a block: hidden 96, inter 80, head 192, o_lora 24, vocab 300
TinyShape tiny_0731();   // DSpark tensors, 0731 chat format

struct TinyTensor {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::uint8_t> bytes;
};

struct TinyCheckpoint {
  std::string config;  // config.json
  std::vector<TinyTensor> tensors;
  int shards = 1;
  std::string encoding_py;  // empty: not written

  static TinyCheckpoint generate(const TinyShape& shape, std::uint64_t seed = 1);

  TinyTensor* find(const std::string& name);  // null if absent
  void remove(const std::string& name);
  void set_config(const std::string& key, const std::string& json_value);  // top level; adds or replaces
  void remove_config(const std::string& key);
  Status write(const std::string& directory) const;  // creates the directory; several shards get an index
};

}  // namespace hadal::test
