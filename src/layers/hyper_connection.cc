#include "layers/hyper_connection.h"

#include "layers/linear.h"

namespace hadal {
namespace {

// fn . (x / rms(x)) for each row of flattened streams [count][n*d]: the product first, the reciprocal norm after, as
// the official program does. Returns [count][outputs].
float* project(const Step& step, const HyperConnectionWeights& weights, const float* streams, std::int64_t count) {
  std::int64_t width = step.config.hc_mult * step.config.hidden_size, outputs = weights.fn.rows;
  float* mix = step.workspace.take<float>(count * outputs);
  Input x(streams, width, count, width);
  multiply(step, {{&weights.fn, &x, mix, outputs}});
  step.parallel(count, count * width, [&](std::int64_t t, int) {
    float r = step.kernels.rms_scale(streams + t * width, width, static_cast<float>(step.config.rms_norm_eps));
    step.kernels.scale(r, mix + t * outputs, outputs, mix + t * outputs);
  });
  return mix;
}

}  // namespace

HyperMix hyper_pre(const Step& step, const HyperConnectionWeights& weights, const float* streams, float* h) {
  const ModelConfig& c = step.config;
  std::int64_t n = c.hc_mult, d = c.hidden_size, count = step.count();
  HyperMix mix{step.workspace.take<float>(count * n), step.workspace.take<float>(count * n),
               step.workspace.take<float>(count * n * n)};
  WorkspaceScope scope(step.workspace);
  float* raw = project(step, weights, streams, count);
  step.parallel(count, count * n * d, [&](std::int64_t t, int) {
    step.kernels.hc_coefficients(raw + t * (2 + n) * n, weights.base, weights.scale, static_cast<int>(n),
                                 static_cast<int>(c.hc_sinkhorn_iters), static_cast<float>(c.hc_eps), mix.pre + t * n,
                                 mix.post + t * n, mix.comb + t * n * n);
    step.kernels.hc_pre(streams + t * n * d, mix.pre + t * n, static_cast<int>(n), d, h + t * d);
  });
  return mix;
}

void hyper_post(const Step& step, const HyperMix& mix, const float* y, float* streams) {
  std::int64_t n = step.config.hc_mult, d = step.config.hidden_size;
  step.parallel(step.count(), step.count() * n * d * n, [&](std::int64_t t, int) {
    step.kernels.hc_post(y + t * d, mix.post + t * n, mix.comb + t * n * n, static_cast<int>(n), d,
                         streams + t * n * d);
  });
}

void hyper_collapse(const Step& step, const HyperConnectionWeights& weights, const float* streams, std::int64_t count,
                    float* z) {
  const ModelConfig& c = step.config;
  std::int64_t n = c.hc_mult, d = c.hidden_size;
  float* raw = project(step, weights, streams, count);
  float* pre = step.workspace.take<float>(count * n);
  step.parallel(count, count * n * d, [&](std::int64_t t, int) {
    float* a = pre + t * n;
    for (std::int64_t j = 0; j < n; ++j) a[j] = raw[t * n + j] * weights.scale[0] + weights.base[j];
    step.kernels.sigmoid(a, n, a);
    for (std::int64_t j = 0; j < n; ++j) a[j] += static_cast<float>(c.hc_eps);
    step.kernels.hc_pre(streams + t * n * d, a, static_cast<int>(n), d, z + t * d);
  });
}

}  // namespace hadal
