// Where routed experts go for a given amount of memory: one decision, for loading a model (weights/model_weights.h)
// and for saying beforehand what loading would do (plan/speed.h).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "files/async_reader.h"

namespace hadal {

// Where the routed experts are kept.
struct ExpertPlacement {
  static constexpr std::int64_t kAuto = -1, kAll = INT64_MAX;
  // kAll: in memory. A size: as many as that holds, the others come from disk when they are needed
  // (weights/expert_store.h). kAuto: all if there is room beside keep_free_bytes, else what the room allows.
  std::int64_t memory_bytes = kAuto;
  // For kAuto: what the caller will take beside the weights, and for every byte of expert memory once more.
  std::int64_t keep_free_bytes = 0;
  double keep_free_share = 0;
  std::int64_t slots = 0;  // instead of memory_bytes, for tests
  ReaderOptions reader;
};

// What there is to place, packed.
struct ExpertSizes {
  std::int64_t dense_bytes = 0;   // every other weight
  std::int64_t expert_bytes = 0;  // all routed experts, the MTP block's included
  std::int64_t experts = 0;       // how many
  std::int64_t per_token = 0;     // that one token asks for in a layer
};

// Bytes for experts that come from disk; 0: every one is loaded. `available`: bytes of memory, -1 unknown. Errors,
// kNoMemory: a sentence without the model's name. Linux grants more memory than there is and ends the process later,
// so what cannot fit is said now.
Result<std::int64_t> expert_memory(const ExpertSizes& sizes, const ExpertPlacement& placement, std::int64_t available);

// How a store divides its memory: slots for packed experts, and staging buffers for those on their way.
struct ExpertSlots {
  std::int64_t slots = 0, staging = 0;
};
ExpertSlots expert_slots(std::int64_t memory_bytes, std::int64_t slot_bytes, std::int64_t staging_bytes,
                         std::int64_t experts);
constexpr std::int64_t kLeastStaging = 2;  // buffers: one is read while another is packed

}  // namespace hadal
