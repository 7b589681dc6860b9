// Where the routed experts of a checkpoint lie in its shards, how one is read in few large reads, and how what was read
// becomes tiles.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "files/async_reader.h"
#include "weights/model_weights.h"
#include "weights/stored_matrix.h"

namespace hadal {

class ExpertFiles {
 public:
  // Opens the shards that hold experts in `reader`. kUnsupported, naming the tensor, for experts that are not stored as
  // FP4 or FP8, and for checkpoints that are not files. The MTP block's experts are those of layer L, if it is there.
  static Result<ExpertFiles> open(std::shared_ptr<const Checkpoint> checkpoint, AsyncReader& reader);

  std::int32_t layers() const { return layers_; }
  std::int32_t experts() const { return experts_; }
  std::int32_t keys() const { return layers_ * experts_; }
  std::int32_t key(std::int32_t layer, std::int32_t expert) const { return layer * experts_ + expert; }

  std::int64_t slot_bytes() const { return slot_bytes_; }        // of the largest expert, packed; a multiple of 64
  std::int64_t staging_bytes() const { return staging_bytes_; }  // of the largest as read; a multiple of kAlign

  // The reads of one expert into its staging buffer, in file order; tags are left to the caller.
  void reads(std::int32_t key, std::byte* staging, std::vector<AsyncReader::Read>& out) const;

  // The expert's matrices in a slot: sizes and pointers, to be filled by pack().
  ExpertWeights place(std::int32_t key, std::byte* slot) const;
  // Packs runs [first, first + kRunsPerTask) of the 16-row runs of w1, w3 and w2 counted together.
  static constexpr std::int64_t kRunsPerTask = 8;  // a quarter of a MB for Flash: short against reading one expert
  std::int64_t pack_tasks(const ExpertWeights& weights) const;
  std::optional<Error> pack(std::int32_t key, const std::byte* staging, const ExpertWeights& out,
                            std::int64_t task) const;

 private:
  struct Piece {  // a tensor in its file and in the staging buffer
    int file = -1;
    std::uint64_t offset = 0;
    std::int64_t bytes = 0, at = 0;
  };
  struct Range {  // aligned, of one file
    int file = -1;
    std::uint64_t offset = 0;
    std::int64_t length = 0, needed = 0, at = 0;
  };
  static constexpr std::size_t kMatrices = 3;  // w1, w3, w2: the order of the tensor table and of the slot
  struct Expert {
    std::array<const TensorSpec*, kMatrices> specs;
    std::array<StoredMatrix, kMatrices> stored;  // without data
    std::array<Piece, 2 * kMatrices> pieces;     // weight and scale of each
    std::vector<Range> ranges;
  };
  StoredMatrix matrix(const Expert& expert, std::size_t m, const std::byte* staging) const;
  Status locate(std::int32_t layer, std::int32_t index, const std::vector<int>& file_of_shard, Expert& out) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::int32_t layers_ = 0, experts_ = 0;
  std::int64_t slot_bytes_ = 0, staging_bytes_ = 0;
  std::vector<Expert> all_;
};

}  // namespace hadal
