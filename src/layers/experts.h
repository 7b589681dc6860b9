// DeepSeekMoE (spec 6): routed experts batched over the tokens that chose them, plus the shared expert.
#pragma once

#include <span>

#include "base/result.h"
#include "layers/router.h"
#include "layers/step.h"
#include "weights/model_weights.h"

namespace hadal {

// x [count][d] normalised input -> y [count][d]. Expert outputs are summed in ascending expert order, the shared expert
// last, so a token's sum does not depend on what the other tokens chose, nor on which experts came from disk and when.
// Errors: those of reading an expert; y is then undefined.
Status mixture_of_experts(const Step& step, const MoeWeights& weights, const float* x, float* y);

// Begins to read the experts that the hash layers will ask for: the step's token ids name them.
void prefetch_hashed(const Step& step, std::span<const BlockWeights> layers);

}  // namespace hadal
