// Bytes and parameters of a model's weights, by class: computed from the tensor table, or read from shard headers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/tensor_table.h"

namespace hadal {

struct ClassCount {
  TensorClass group;
  std::int64_t tensors = 0;  // scales not counted
  std::int64_t bytes = 0;    // scales included
};

struct WeightCount {
  double parameters = 0;         // main stack, MTP not counted; index tables are no parameters
  double active_parameters = 0;  // touched for one token, both vocabulary matrices counted
  std::int64_t main_bytes = 0;   // tensor bytes of the main stack
  std::int64_t mtp_bytes = 0;
  // Read for one decoded token: all of the main stack but the unused experts and the unused rows of embedding and hash
  // table.
  double active_bytes = 0;
  std::int64_t routed_bytes = 0;    // routed experts of the main stack
  double active_routed_bytes = 0;   // of them read for one token
  std::vector<ClassCount> classes;  // every class, in the order of TensorClass; kMtp is the MTP block
  std::int64_t total_bytes() const { return main_bytes + mtp_bytes; }
};

enum class ReleaseKind { kRelease, kBase };  // FP4 experts and E8M0 scales, or FP8 experts and float scales

// As the release of this configuration stores it.
WeightCount count_release(const ModelConfig& config, const TensorTable& table, ReleaseKind kind);

// As a checkpoint directory stores it; its tensors must be complete (Checkpoint::problems() empty).
WeightCount count_stored(const Checkpoint& checkpoint);

}  // namespace hadal
