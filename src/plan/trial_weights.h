// A few layers of a model with made-up weights, in the packed form that the real ones would have: something to time
// where the weights themselves are not loaded, do not fit, or are not there. Speed does not depend on their values.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/engine_memory.h"
#include "weights/arena.h"
#include "weights/model_weights.h"

namespace hadal {

struct TrialWeights {
  ModelConfig config;                // the model's, of these layers alone
  std::vector<std::int64_t> layers;  // which layer of the model each one is
  ModelWeights weights;              // their views into the memory below; embedding and head have `vocabulary` rows
  std::int64_t vocabulary = 0;       // rows of embedding and head: the model's, or as many as cannot stay in a cache

  Arena arena;
  std::vector<float> ones;  // what norms, biases and scales point at
};

// Layers are taken one of each kind, then in order until their bytes cannot stay in the last cache (`cold_bytes`, some
// times its size), or all are there. Where experts alone would take more than that, several share a place in memory:
// each is still read from memory when its turn comes. kNoMemory when `most_bytes` do not suffice or the system refuses.
Result<TrialWeights> make_trial_weights(const ModelConfig& config, const TensorTable& table, const DTypeOf& dtype_of,
                                        std::int64_t cold_bytes, std::int64_t most_bytes);

}  // namespace hadal
