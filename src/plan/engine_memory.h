// The memory hadal itself takes: packed weights and sessions, computed by the same functions that allocate them.
#pragma once

#include <cstdint>
#include <functional>

#include "cache/page.h"
#include "plan/weight_count.h"

namespace hadal {

struct EngineMemory {
  std::int64_t weights_bytes = 0;       // packed copy of every tensor but the embedding
  std::int64_t routed_bytes = 0;        // of them the main layers' routed experts
  std::int64_t routed_experts = 0;      // how many those are
  std::int64_t streamable_bytes = 0;    // all routed experts, the MTP block's included
  std::int64_t streamable_experts = 0;  // how many
  std::int64_t mapped_bytes = 0;        // embedding, read from the file in place; the system may drop and reread it
  ModelConfig config;
  CacheLayout layout;  // pages and fixed state of a session
  // One prefill step that ends at `tokens`, on `threads` threads; sessions take turns, so it counts once.
  std::int64_t step_bytes(std::int64_t tokens, std::int64_t threads) const;
  std::int64_t session_bytes(std::int64_t tokens) const { return layout.sequence_bytes(tokens); }
};

// How a tensor will be packed; the stored dtype decides (weights/pack.h).
using DTypeOf = std::function<DType(const TensorSpec&)>;
DTypeOf release_dtypes(ReleaseKind kind);
DTypeOf stored_dtypes(const Checkpoint& checkpoint);

// With the default numerics (trained).
EngineMemory engine_memory(const ModelConfig& config, const TensorTable& table, bool with_mtp, const DTypeOf& dtype_of);

// Sessions of `tokens` tokens that fit beside the weights and a step in `available_bytes`; 0 when the weights alone do
// not fit.
std::int64_t sessions_that_fit(const EngineMemory& memory, std::int64_t tokens, std::int64_t threads,
                               std::int64_t available_bytes);

}  // namespace hadal
