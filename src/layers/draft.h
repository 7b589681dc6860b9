// The input of the one-step multi-token-prediction block (spec 10).
#pragma once

#include "layers/step.h"
#include "weights/model_weights.h"

namespace hadal {

// X_j = e_proj RMSNorm(embed[next]; enorm) + h_proj RMSNorm(S_j; hnorm). The step's ids are the tokens that follow;
// `streams` [count][n][d] are the main model's after its last layer. Writes X [count][n][d]. Errors: those of reading a
// row of the embedding.
Status draft_input(const Step& step, const MtpWeights& weights, const Embedding& embed, const float* streams, float* x);

}  // namespace hadal
