#include "model/forward.h"

#include <cstring>

#include "layers/experts.h"
#include "layers/hyper_connection.h"
#include "layers/linear.h"

namespace hadal {
namespace {

void normalise(const Step& step, const float* x, const float* weight, std::int64_t rows, float* out) {
  std::int64_t d = step.config.hidden_size;
  step.parallel(rows, rows * d, [&](std::int64_t t, int) {
    step.kernels.rms_norm(x + t * d, weight, d, static_cast<float>(step.config.rms_norm_eps), out + t * d);
  });
}

}  // namespace

Status embed(const Step& step, const ModelWeights& weights, float* streams) {
  std::int64_t n = step.config.hc_mult, d = step.config.hidden_size;
  WorkspaceScope scope(step.workspace);
  auto* rows = step.workspace.take<std::uint16_t>(step.count() * d);
  HADAL_CHECK_OK(weights.embed.gather(step.ids, rows));
  step.parallel(step.count(), step.count() * n * d, [&](std::int64_t t, int) {
    float* x = streams + t * n * d;
    step.kernels.widen_bf16(rows + t * d, d, x);
    for (std::int64_t j = 1; j < n; ++j) std::memcpy(x + j * d, x, static_cast<std::size_t>(d) * sizeof(float));
  });
  return {};
}

Status block(const Step& step, const BlockWeights& weights, std::int64_t layer, const RotaryTables& tables,
             const RowFormat& format, std::span<const StepPiece> pieces, float* streams) {
  std::int64_t count = step.count(), d = step.config.hidden_size;
  WorkspaceScope scope(step.workspace);
  float* h = step.workspace.take<float>(count * d);
  float* y = step.workspace.take<float>(count * d);

  HyperMix mix = hyper_pre(step, weights.hc_attn, streams, h);
  normalise(step, h, weights.attn_norm, count, h);
  attention(step, weights.attn, layer, tables, format, pieces, h, y);
  hyper_post(step, mix, y, streams);

  mix = hyper_pre(step, weights.hc_ffn, streams, h);
  normalise(step, h, weights.ffn_norm, count, h);
  HADAL_CHECK_OK(mixture_of_experts(step, weights.ffn, h, y));
  hyper_post(step, mix, y, streams);
  return {};
}

void read_out(const Step& step, const HyperConnectionWeights& collapse, const float* norm, const PackedMatrix& head,
              const float* streams, std::int64_t rows, float* logits) {
  std::int64_t d = step.config.hidden_size;
  WorkspaceScope scope(step.workspace);
  float* z = step.workspace.take<float>(rows * d);
  hyper_collapse(step, collapse, streams, rows, z);
  normalise(step, z, norm, rows, z);
  Input input(z, d, rows, d);
  multiply(step, {{&head, &input, logits, step.config.vocab_size}});
}

}  // namespace hadal
