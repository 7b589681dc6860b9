// What running a model takes beside its weights, so that experts are given the rest.
#pragma once

#include "model/model.h"

namespace hadal {

// Where the experts of a model go when a session of `context` tokens is to run beside them. `expert_memory` is a
// size or one of ExpertPlacement's two words.
ExpertPlacement place_experts(const ModelConfig& config, const ModelOptions& options, std::int64_t context,
                              std::int64_t expert_memory);

}  // namespace hadal
