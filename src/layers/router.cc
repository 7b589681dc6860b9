#include "layers/router.h"

#include <algorithm>

#include "layers/linear.h"

namespace hadal {
namespace {

// The k largest of score + bias, ties to the lower expert; ascending by expert.
void pick_top(const float* score, const float* bias, std::int64_t experts, std::int64_t k, std::int32_t* out) {
  // Insertion into a short sorted list: k is 6 of a few hundred.
  std::int64_t held = 0;
  auto key = [&](std::int32_t e) { return score[e] + bias[e]; };
  for (std::int32_t e = 0; e < experts; ++e) {
    float value = key(e);
    if (held == k && !(value > key(out[k - 1]))) continue;
    std::int64_t at = held < k ? held++ : k - 1;
    while (at > 0 && value > key(out[at - 1])) {
      out[at] = out[at - 1];
      --at;
    }
    out[at] = e;
  }
  std::sort(out, out + k);
}

}  // namespace

Routes route(const Step& step, const MoeWeights& weights, Input& x) {
  const ModelConfig& c = step.config;
  std::int64_t count = step.count(), E = c.n_routed_experts, k = c.num_experts_per_tok;
  Routes routes{step.workspace.take<std::int32_t>(count * k), step.workspace.take<float>(count * k)};
  float* score = step.workspace.take<float>(count * E);
  multiply(step, {{&weights.gate, &x, score, E}});
  step.parallel(count, count * E * 32, [&](std::int64_t t, int) {
    float* s = score + t * E;
    step.kernels.sqrt_softplus(s, E, s);
    std::int32_t* expert = routes.expert + t * k;
    if (weights.tid2eid) {
      std::copy_n(weights.tid2eid + to_int(step.ids[static_cast<std::size_t>(t)]) * k, k, expert);
      std::sort(expert, expert + k);
    } else {
      pick_top(s, weights.bias, E, k, expert);
    }
    float sum = 0;
    for (std::int64_t j = 0; j < k; ++j) sum += s[expert[j]];
    for (std::int64_t j = 0; j < k; ++j)
      routes.weight[t * k + j] = s[expert[j]] / sum * static_cast<float>(c.routed_scaling_factor);
  });
  return routes;
}

}  // namespace hadal
