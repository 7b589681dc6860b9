#include "layers/experts.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "layers/linear.h"

namespace hadal {
namespace {

// Tokens sorted by expert: rows [begin[e], begin[e+1]) of `token` and `slot` belong to expert e, tokens ascending.
struct Assignment {
  std::int64_t* begin;  // [E+1]
  std::int32_t* token;  // [count*k]
  float* weight;        // [count*k]
};

Assignment assign(const Step& step, const Routes& routes) {
  std::int64_t E = step.config.n_routed_experts, k = step.config.num_experts_per_tok, count = step.count();
  Assignment a{step.workspace.take<std::int64_t>(E + 1), step.workspace.take<std::int32_t>(count * k),
               step.workspace.take<float>(count * k)};
  std::int64_t* cursor = step.workspace.take<std::int64_t>(E);
  std::fill_n(a.begin, E + 1, 0);
  for (std::int64_t i = 0; i < count * k; ++i) ++a.begin[routes.expert[i] + 1];
  for (std::int64_t e = 0; e < E; ++e) {
    a.begin[e + 1] += a.begin[e];
    cursor[e] = a.begin[e];
  }
  for (std::int64_t t = 0; t < count; ++t)
    for (std::int64_t j = 0; j < k; ++j) {
      std::int64_t at = cursor[routes.expert[t * k + j]]++;
      a.token[at] = static_cast<std::int32_t>(t);
      a.weight[at] = routes.weight[t * k + j];
    }
  return a;
}

// Experts [first, last) over their rows: out [rows][d].
void run_experts(const Step& step, const MoeWeights& weights, const Assignment& a, std::int64_t first,
                 std::int64_t last, const float* x, float* out) {
  const ModelConfig& c = step.config;
  std::int64_t d = c.hidden_size, inter = c.moe_intermediate_size, base = a.begin[first], rows = a.begin[last] - base;
  float* gate = step.workspace.take<float>(rows * inter);
  float* up = step.workspace.take<float>(rows * inter);
  std::vector<Input> inputs;
  std::vector<Product> products;
  inputs.reserve(static_cast<std::size_t>(last - first));
  for (std::int64_t e = first; e < last; ++e) {
    std::int64_t n = a.begin[e + 1] - a.begin[e], at = a.begin[e] - base;
    if (n == 0) continue;
    inputs.emplace_back(x, d, n, d, a.token + a.begin[e]);
    const ExpertWeights& w = weights.experts[static_cast<std::size_t>(e)];
    products.push_back({&w.w1, &inputs.back(), gate + at * inter, inter});
    products.push_back({&w.w3, &inputs.back(), up + at * inter, inter});
  }
  multiply(step, products);
  step.parallel(rows, rows * inter * 16, [&](std::int64_t r, int) {
    step.kernels.swiglu(gate + r * inter, up + r * inter, static_cast<float>(c.swiglu_limit), a.weight[base + r], inter,
                        gate + r * inter);
  });
  inputs.clear();
  products.clear();
  for (std::int64_t e = first; e < last; ++e) {
    std::int64_t n = a.begin[e + 1] - a.begin[e], at = a.begin[e] - base;
    if (n == 0) continue;
    inputs.emplace_back(gate + at * inter, inter, n, inter);
    products.push_back({&weights.experts[static_cast<std::size_t>(e)].w2, &inputs.back(), out + at * d, d});
  }
  multiply(step, products);
}

}  // namespace

void mixture_of_experts(const Step& step, const MoeWeights& weights, const float* x, float* y) {
  const ModelConfig& c = step.config;
  std::int64_t count = step.count(), d = c.hidden_size, inter = c.moe_intermediate_size, E = c.n_routed_experts;
  WorkspaceScope scope(step.workspace);
  Input input(x, d, count, d);
  Routes routes = route(step, weights, input);
  Assignment a = assign(step, routes);

  std::memset(y, 0, static_cast<std::size_t>(count * d) * sizeof(float));
  // Experts go in batches whose outputs fit a bounded buffer; batches ascend, so each token's sum ascends too.
  std::int64_t most_rows = std::max<std::int64_t>(2 * count, c.num_experts_per_tok);
  for (std::int64_t first = 0; first < E;) {
    std::int64_t last = first + 1;
    while (last < E && a.begin[last + 1] - a.begin[first] <= most_rows) ++last;
    std::int64_t rows = a.begin[last] - a.begin[first];
    if (rows > 0) {
      WorkspaceScope batch(step.workspace);
      float* out = step.workspace.take<float>(rows * d);
      run_experts(step, weights, a, first, last, x, out);
      // Rows of one token ascend by expert inside the batch; stripes of channels keep threads apart.
      constexpr std::int64_t kStripe = 256;
      std::int64_t stripes = (d + kStripe - 1) / kStripe;
      step.parallel(stripes, rows * d, [&](std::int64_t s, int) {
        std::int64_t from = s * kStripe, n = std::min(kStripe, d - from);
        for (std::int64_t r = 0; r < rows; ++r)
          step.kernels.axpy(1.0f, out + r * d + from, n, y + a.token[a.begin[first] + r] * d + from);
      });
    }
    first = last;
  }

  float* gate = step.workspace.take<float>(count * inter);
  float* up = step.workspace.take<float>(count * inter);
  multiply(step, {{&weights.shared.w1, &input, gate, inter}, {&weights.shared.w3, &input, up, inter}});
  step.parallel(count, count * inter * 16, [&](std::int64_t t, int) {
    step.kernels.swiglu(gate + t * inter, up + t * inter, static_cast<float>(c.swiglu_limit), 1.0f, inter,
                        gate + t * inter);
  });
  float* shared = step.workspace.take<float>(count * d);
  Input hidden(gate, inter, count, inter);
  multiply(step, {{&weights.shared.w2, &hidden, shared, d}});
  step.parallel(count, count * d, [&](std::int64_t t, int) { step.kernels.axpy(1.0f, shared + t * d, d, y + t * d); });
}

}  // namespace hadal
