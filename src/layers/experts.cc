#include "layers/experts.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "layers/linear.h"
#include "weights/expert_store.h"

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

// An expert whose weights are at hand.
struct Active {
  std::int64_t expert;
  const ExpertWeights* weights;
};

// Some experts over their rows: row r of the assignment goes to out [r - base][d].
void run_experts(const Step& step, const Assignment& a, std::span<const Active> active, std::int64_t base,
                 const float* x, float* out) {
  const ModelConfig& c = step.config;
  std::int64_t d = c.hidden_size, inter = c.moe_intermediate_size, rows = 0;
  for (const Active& e : active) rows += a.begin[e.expert + 1] - a.begin[e.expert];
  WorkspaceScope scope(step.workspace);
  float* gate = step.workspace.take<float>(rows * inter);
  float* up = step.workspace.take<float>(rows * inter);
  float* weight = step.workspace.take<float>(rows);
  const auto most = static_cast<std::int64_t>(active.size());
  auto* inputs = step.workspace.take<Input>(most);
  auto* products = step.workspace.take<Product>(2 * most);
  std::int64_t at = 0;
  std::size_t used = 0;
  for (const Active& e : active) {
    std::int64_t n = a.begin[e.expert + 1] - a.begin[e.expert];
    if (n == 0) continue;
    Input* input = new (&inputs[used / 2]) Input(x, d, n, d, a.token + a.begin[e.expert]);
    products[used++] = {&e.weights->w1, input, gate + at * inter, inter};
    products[used++] = {&e.weights->w3, input, up + at * inter, inter};
    std::copy_n(a.weight + a.begin[e.expert], n, weight + at);
    at += n;
  }
  multiply(step, {products, used});
  step.parallel(rows, rows * inter * 16, [&](std::int64_t r, int) {
    step.kernels.swiglu(gate + r * inter, up + r * inter, static_cast<float>(c.swiglu_limit), weight[r], inter,
                        gate + r * inter);
  });
  at = 0;
  used = 0;
  for (const Active& e : active) {
    std::int64_t n = a.begin[e.expert + 1] - a.begin[e.expert];
    if (n == 0) continue;
    Input* input = new (&inputs[used]) Input(gate + at * inter, inter, n, inter);
    products[used++] = {&e.weights->w2, input, out + (a.begin[e.expert] - base) * d, d};
    at += n;
  }
  multiply(step, {products, used});
}

// Experts in the order they are asked for: ascending, those without rows left out.
void begin_layer(const Step& step, const MoeWeights& weights, const Assignment& a) {
  std::vector<ExpertWant> wants;
  for (std::int64_t e = 0; e < step.config.n_routed_experts; ++e)
    if (const std::int64_t n = a.begin[e + 1] - a.begin[e]) wants.push_back({static_cast<std::int32_t>(e), n});
  weights.store->begin_layer(weights.layer, wants);
}

// run_experts for experts [first, last), wherever they are: those in memory first, the others as the disk gives them.
// Each writes its own rows, so the order does not show.
Status run_window(const Step& step, const MoeWeights& weights, const Assignment& a, std::int64_t first,
                  std::int64_t last, const float* x, float* out) {
  const std::int64_t base = a.begin[first];
  if (!weights.store) {
    auto* active = step.workspace.take<Active>(last - first);
    std::size_t used = 0;
    for (std::int64_t e = first; e < last; ++e)
      if (a.begin[e + 1] > a.begin[e]) active[used++] = {e, &weights.experts[static_cast<std::size_t>(e)]};
    run_experts(step, a, {active, used}, base, x, out);
    return {};
  }
  std::vector<Active> active;
  std::vector<std::int64_t> expert_of;  // wants are numbered over the layer
  for (std::int64_t e = 0; e < last; ++e)
    if (a.begin[e + 1] > a.begin[e]) expert_of.push_back(e);
  for (;;) {
    const auto ready = HADAL_TRY(weights.store->ready(step.pool, static_cast<std::int64_t>(expert_of.size())));
    if (ready.empty()) return {};
    active.clear();
    for (const ExpertStore::Ready& r : ready)
      active.push_back({expert_of[static_cast<std::size_t>(r.want)], r.weights});
    run_experts(step, a, active, base, x, out);
  }
}

// The residual stream changes little from one layer to the next, so the next layer's gate, given this layer's input,
// knows some of what it will choose from its own. Decoding only: a long step asks for nearly every expert anyway.
void guess_next(const Step& step, const MoeWeights& next, Input& input) {
  if (step.count() > 1) return;
  const std::int64_t E = step.config.n_routed_experts;
  WorkspaceScope scope(step.workspace);
  float* score = step.workspace.take<float>(E);
  auto* order = step.workspace.take<std::int32_t>(E);
  multiply(step, {{&next.gate, &input, score, E}});
  step.kernels.sqrt_softplus(score, E, score);
  for (std::int32_t e = 0; e < E; ++e) {
    score[e] += next.bias[e];
    order[e] = e;
  }
  // Reading half of them takes about as long as the disk would wait for the next layer's own choice.
  const std::int64_t count = (step.config.num_experts_per_tok + 1) / 2;
  std::partial_sort(order, order + count, order + E, [&](std::int32_t x, std::int32_t y) {
    return score[x] > score[y] || (score[x] == score[y] && x < y);
  });
  next.store->guess(next.layer, {order, static_cast<std::size_t>(count)});
}

}  // namespace

Status mixture_of_experts(const Step& step, const MoeWeights& weights, const float* x, float* y) {
  const ModelConfig& c = step.config;
  std::int64_t count = step.count(), d = c.hidden_size, inter = c.moe_intermediate_size, E = c.n_routed_experts;
  WorkspaceScope scope(step.workspace);
  Input input(x, d, count, d);
  Routes routes = route(step, weights, input);
  Assignment a = assign(step, routes);
  if (weights.store) {
    begin_layer(step, weights, a);
    if (weights.next) guess_next(step, *weights.next, input);
  }

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
      HADAL_CHECK_OK(run_window(step, weights, a, first, last, x, out));
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
  return {};
}

void prefetch_hashed(const Step& step, std::span<const BlockWeights> layers) {
  const std::int64_t k = step.config.num_experts_per_tok;
  std::vector<std::int32_t> experts;
  for (const BlockWeights& layer : layers) {
    const MoeWeights& w = layer.ffn;
    if (!w.store || !w.tid2eid) continue;
    experts.clear();
    for (const TokenId id : step.ids)
      experts.insert(experts.end(), w.tid2eid + to_int(id) * k, w.tid2eid + (to_int(id) + 1) * k);
    std::sort(experts.begin(), experts.end());
    experts.erase(std::unique(experts.begin(), experts.end()), experts.end());
    w.store->prefetch(w.layer, experts);
  }
}

}  // namespace hadal
