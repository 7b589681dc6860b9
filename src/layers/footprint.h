// How much scratch memory a step takes, without taking it: what `hadal plan` promises. tests/model holds it against
// what a real step used.
#pragma once

#include <cstdint>

#include "layers/state.h"

namespace hadal {

struct StepShape {
  std::int64_t count = 1;    // tokens fed at once
  std::int64_t end = 1;      // position after the last of them
  std::int64_t threads = 1;  // each has its own lists and score rows
};

// Tokens per step that keep scratch memory near a fixed budget; a prompt is best fed in pieces of this size.
std::int64_t preferred_step(const ModelConfig& config);
// The same when experts come from disk: a step reads every one of them once, however long it is, so it may be longer
// and may take kLongStepShare of the memory that they have, on top of it.
constexpr double kLongStepShare = 1.0 / 8;
std::int64_t preferred_step(const ModelConfig& config, std::int64_t expert_memory_bytes);

// Bytes in use at most while `shape.count` tokens pass through the main layers, logits of the last one included. The
// MTP block is not counted: it reuses what the main layers gave back, but for one set of streams.
std::int64_t step_footprint(const ModelConfig& config, const Numerics& numerics, const RowFormat& format,
                            const StepShape& shape);

}  // namespace hadal
