// Manifold-constrained hyper-connections (spec 3): n residual streams per token, mixed around every sub-block.
#pragma once

#include "layers/step.h"
#include "weights/model_weights.h"

namespace hadal {

// Coefficients of one sub-block for every token of the step.
struct HyperMix {
  float* pre = nullptr;   // A [count][n]
  float* post = nullptr;  // C [count][n]
  float* comb = nullptr;  // B [count][n][n], first index is the source stream
};

// streams [count][n][d] -> h [count][d] and the coefficients hyper_post needs.
HyperMix hyper_pre(const Step& step, const HyperConnectionWeights& weights, const float* streams, float* h);

// streams'[k] = C_k y + sum_j B[j][k] X_j, in place.
void hyper_post(const Step& step, const HyperMix& mix, const float* y, float* streams);

// z = sum_j A_j X_j with the head's own coefficients, for `count` rows of streams. z [count][d].
void hyper_collapse(const Step& step, const HyperConnectionWeights& weights, const float* streams, std::int64_t count,
                    float* z);

}  // namespace hadal
