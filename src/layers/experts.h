// DeepSeekMoE (spec 6): routed experts batched over the tokens that chose them, plus the shared expert.
#pragma once

#include "layers/router.h"
#include "layers/step.h"
#include "weights/model_weights.h"

namespace hadal {

// x [count][d] normalised input -> y [count][d]. Expert outputs are summed in ascending expert order, the shared expert
// last, so a token's sum does not depend on what the other tokens chose.
void mixture_of_experts(const Step& step, const MoeWeights& weights, const float* x, float* y);

}  // namespace hadal
