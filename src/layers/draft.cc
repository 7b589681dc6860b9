#include "layers/draft.h"

#include <cstring>

#include "layers/linear.h"

namespace hadal {

Status draft_input(const Step& step, const MtpWeights& weights, const Embedding& embed, const float* streams,
                   float* x) {
  const ModelConfig& c = step.config;
  const auto eps = static_cast<float>(c.rms_norm_eps);
  std::int64_t count = step.count(), n = c.hc_mult, d = c.hidden_size;
  WorkspaceScope scope(step.workspace);
  float* e = step.workspace.take<float>(count * d);
  float* s = step.workspace.take<float>(count * n * d);
  float* projected = step.workspace.take<float>(count * d);
  auto* rows = step.workspace.take<std::uint16_t>(count * d);
  HADAL_CHECK_OK(embed.gather(step.ids, rows));
  step.parallel(count, count * (n + 1) * d, [&](std::int64_t t, int) {
    step.kernels.widen_bf16(rows + t * d, d, e + t * d);
    step.kernels.rms_norm(e + t * d, weights.enorm, d, eps, e + t * d);
    for (std::int64_t j = t * n; j < (t + 1) * n; ++j)
      step.kernels.rms_norm(streams + j * d, weights.hnorm, d, eps, s + j * d);
  });
  Input e_input(e, d, count, d), s_input(s, d, count * n, d);
  multiply(step, {{&weights.e_proj, &e_input, projected, d}, {&weights.h_proj, &s_input, x, d}});
  step.parallel(count, count * n * d, [&](std::int64_t t, int) {
    for (std::int64_t j = t * n; j < (t + 1) * n; ++j) step.kernels.axpy(1.0f, projected + t * d, d, x + j * d);
  });
  return {};
}

}  // namespace hadal
