// Fills the matrices and vectors of a model from a checkpoint, in two passes. The first walks the model in the words of
// the tensor table, notes for every tensor where it comes from and where it goes, and lays out two blocks of memory:
// the dense weights and the routed experts. The second fills a block in parallel, or finds it filled already.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "weights/checkpoint.h"
#include "weights/embedding.h"
#include "weights/pack.h"
#include "weights/packed_matrix.h"
#include "weights/stored_matrix.h"

namespace hadal {

class Loader {
 public:
  enum Block : std::uint8_t { kDense, kExperts };

  explicit Loader(const Checkpoint& checkpoint) : checkpoint_(checkpoint), config_(checkpoint.config()) {}

  // What `out` is to point at once its block is filled. `out` must stay where it is until then.
  void matrix(PackedMatrix& out, Role role, std::int64_t layer = kNoLayer, std::int64_t expert = kNoExpert);
  void groups(std::vector<PackedMatrix>& out, Role role, std::int64_t layer, std::int64_t count);
  void floats(const float*& out, Role role, std::int64_t layer = kNoLayer);
  void expert_ids(const std::int32_t*& out, Role role, std::int64_t layer);
  Status embedding(Embedding& out);  // kIo when its file cannot be opened once more

  std::int64_t bytes(Block block) const { return bytes_[block]; }

  // Identity of what fill() writes into the dense block and where: two programs that agree on it may share the block.
  std::uint64_t arrangement() const;

  // Packs the block into memory of bytes(block), 64-byte aligned. The first bad tensor in table order is the error.
  Status fill(Block block, std::byte* memory);
  // The dense block as fill() left it, in this process or an earlier one.
  void adopt(const std::byte* dense);

 private:
  struct MatrixTask {
    StoredMatrix source;
    PackedMatrix* out;
    std::int64_t tiles_offset, scales_offset;
    const TensorSpec* spec;
    Block block;
  };
  struct VectorTask {
    const TensorSpec* spec;
    std::int64_t offset;   // in the dense block; -1: the tensor stays where it is
    const float** floats;  // one of the three
    const std::int32_t** ids;
    Embedding* embedding;
  };

  const TensorSpec& spec(Role role, std::int64_t layer, std::int64_t expert);
  StoredMatrix source(const TensorSpec& spec) const { return stored_matrix(checkpoint_, spec); }
  void matrix_part(PackedMatrix& out, const TensorSpec& spec, StoredMatrix source, Encoding encoding);
  std::int64_t take(Block block, std::int64_t bytes);
  static void point(const MatrixTask& task, const std::byte* memory);
  static void point(const VectorTask& task, const std::byte* dense);
  Status fill_vector(const VectorTask& task, std::byte* dense) const;

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  std::vector<MatrixTask> matrices_;
  std::vector<VectorTask> vectors_;
  std::int64_t bytes_[2] = {0, 0};
};

}  // namespace hadal
