// Routing (spec 6): which experts a token goes to, and with what weight. Hash layers look the experts up by token id.
#pragma once

#include "layers/step.h"
#include "weights/model_weights.h"

namespace hadal {

struct Routes {
  std::int32_t* expert = nullptr;  // [count][k], ascending by expert: the order in which outputs are summed
  float* weight = nullptr;         // [count][k]
};

// x [count][d] normalised input.
class Input;
Routes route(const Step& step, const MoeWeights& weights, Input& x);

}  // namespace hadal
