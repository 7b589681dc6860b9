#include "plan/engine_memory.h"

#include <algorithm>

#include "base/span.h"
#include "layers/attention.h"
#include "layers/footprint.h"
#include "weights/pack.h"

namespace hadal {
namespace {

constexpr std::int64_t kAlign = 64;  // of every part of the weight arena

bool is_matrix(const TensorSpec& t) {
  switch (t.role) {
    case Role::kEmbed:
    case Role::kGateTid2eid:
    case Role::kCompressorApe:
    case Role::kIndexerCompressorApe:
      return false;
    default:
      return t.shape.size() == 2;
  }
}

std::int64_t packed_matrix_bytes(const TensorSpec& t, DType dtype, const ModelConfig& config) {
  const std::int64_t groups = t.role == Role::kWoA ? config.o_groups : 1;  // each group of wo_a is a matrix of its own
  StoredMatrix m;
  m.dtype = dtype;
  m.rows = t.rows() / groups;
  m.cols = t.cols();
  m.block = config.weight_block_size;
  const Encoding encoding = packed_encoding(m);
  return groups *
         (round_up(packed_tile_bytes(m, encoding), kAlign) + round_up(4 * packed_scale_count(m, encoding), kAlign));
}

}  // namespace

DTypeOf release_dtypes(ReleaseKind kind) {
  return [kind](const TensorSpec& t) {
    return kind == ReleaseKind::kBase && t.storage == Storage::kExpert ? DType::kE4M3 : release_dtype(t.storage);
  };
}

DTypeOf stored_dtypes(const Checkpoint& checkpoint) {
  return [&checkpoint](const TensorSpec& t) {
    auto found = checkpoint.stored().find(t.name);
    return found == checkpoint.stored().end() ? release_dtypes(ReleaseKind::kRelease)(t) : found->second.dtype;
  };
}

EngineMemory engine_memory(const ModelConfig& config, const TensorTable& table, bool with_mtp,
                           const DTypeOf& dtype_of) {
  EngineMemory memory;
  for (const TensorSpec& t : table.tensors()) {
    const bool mtp = t.presence == Presence::kMtp;
    if (t.presence == Presence::kIgnored || (mtp && !with_mtp)) continue;
    const DType dtype = dtype_of(t);
    if (t.role == Role::kEmbed) {
      (dtype == DType::kBF16 ? memory.mapped_bytes : memory.weights_bytes) += 2 * t.elements();
    } else if (is_matrix(t)) {
      const std::int64_t bytes = packed_matrix_bytes(t, dtype, config);
      memory.weights_bytes += bytes;
      const bool gate = t.role == Role::kExpertW1,
                 routed = gate || t.role == Role::kExpertW2 || t.role == Role::kExpertW3;
      if (routed) memory.streamable_bytes += bytes;
      memory.streamable_experts += gate;
      if (t.group == TensorClass::kRoutedExperts && t.layer < config.num_hidden_layers) {
        memory.routed_bytes += bytes;
        memory.routed_experts += t.role == Role::kExpertW1;
      }
    } else {
      memory.weights_bytes += round_up(4 * t.elements(), kAlign);  // floats, or 32-bit expert ids
    }
  }
  memory.config = config;
  memory.layout = CacheLayout::make(config, row_format(config, Numerics{}));
  return memory;
}

std::int64_t EngineMemory::step_bytes(std::int64_t tokens, std::int64_t threads) const {
  const Numerics numerics;
  const std::int64_t count = std::min(preferred_step(config), tokens);
  return step_footprint(config, numerics, row_format(config, numerics), {count, tokens, threads});
}

std::int64_t sessions_that_fit(const EngineMemory& memory, std::int64_t tokens, std::int64_t threads,
                               std::int64_t available_bytes) {
  const std::int64_t left = available_bytes - memory.weights_bytes - memory.step_bytes(tokens, threads);
  return left <= 0 ? 0 : left / memory.session_bytes(tokens);
}

}  // namespace hadal
