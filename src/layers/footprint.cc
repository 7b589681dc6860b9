#include "layers/footprint.h"

#include <algorithm>

#include "base/span.h"
#include "layers/compressor.h"
#include "layers/window.h"

namespace hadal {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

// Both packed forms of a layer's input: the official weights are FP8 or FP4 beside BF16 ones, and each kind reads its
// own.
std::int64_t packed_forms(const Numerics& numerics, std::int64_t count, std::int64_t cols, bool wide_too) {
  if (!numerics.fast) return activation_bytes(ActivationKind::kF32, count, cols);
  return activation_bytes(ActivationKind::kInt8, count, cols) +
         (wide_too ? activation_bytes(ActivationKind::kBf16, count, cols) : 0);
}

std::int64_t compressor_floats(const CompressorShape& c, std::int64_t count, std::int64_t pairs) {
  return 2 * count * c.halves() * c.head_dim + ceil_div(count, c.ratio) * (c.head_dim + 3 * pairs);
}

std::int64_t attention_bytes(const ModelConfig& c, const Numerics& numerics, const RowFormat& format,
                             const StepShape& s, std::int64_t ratio) {
  const std::int64_t H = c.num_attention_heads, D = c.head_dim, pairs = c.qk_rope_head_dim / 2;
  std::int64_t floats = s.count * (3 * pairs + c.q_lora_rank + D + 2 * H * D + c.o_groups * c.o_lora_rank);
  std::int64_t bytes = s.count * format.row_bytes() + packed_forms(numerics, s.count, c.hidden_size, ratio != 0) +
                       packed_forms(numerics, s.count, c.q_lora_rank, false) +
                       packed_forms(numerics, s.count, c.o_groups * c.o_lora_rank, false);
  // wo_a reads its input unrounded.
  bytes += activation_bytes(numerics.fast ? ActivationKind::kBf16 : ActivationKind::kF32, s.count, H * D);
  if (ratio) floats += compressor_floats({ratio, D}, s.count, pairs);
  if (ratio == 4) {
    const std::int64_t width = c.index_n_heads * c.index_head_dim, sets = s.count == 1 ? 1 : s.threads;
    floats += compressor_floats({4, c.index_head_dim}, s.count, pairs);
    floats += s.count * (width + c.index_n_heads + c.index_topk + 1);  // queries, weights, the picked entries
    floats += sets * 2 * (s.end / 4);                                  // scores and the top-k's scratch
  }
  const std::int64_t entries = ratio == 0 ? 0 : ratio == 4 ? c.index_topk : s.end / ratio;
  const std::int64_t slots = RowList::capacity(c.sliding_window, entries);
  const std::int64_t split = s.count >= s.threads ? 1 : std::min(s.threads, ceil_div(H, std::int64_t{8}));
  const std::int64_t group = ceil_div(H, split), segments = ceil_div(slots, std::int64_t{kAttendSegment});
  bytes += s.threads * (slots * std::int64_t{sizeof(void*)} + segments * group * (D + 2) * kFloat +
                        kernels().attend_scratch_bytes(format.shape, static_cast<int>(group)));
  return bytes + floats * kFloat;
}

std::int64_t expert_bytes(const ModelConfig& c, const Numerics& numerics, const StepShape& s) {
  const std::int64_t d = c.hidden_size, inter = c.moe_intermediate_size, k = c.num_experts_per_tok;
  const std::int64_t routing = s.count * (c.n_routed_experts + 4 * k) * kFloat;
  // The largest batch of experts (layers/experts.cc), or the shared expert after it.
  const std::int64_t rows = std::min(std::max(2 * s.count, k), s.count * k);
  const std::int64_t batch = rows * (d + 2 * inter) * kFloat + packed_forms(numerics, rows, d, false) +
                             packed_forms(numerics, rows, inter, false);
  const std::int64_t shared = s.count * (d + 2 * inter) * kFloat + packed_forms(numerics, s.count, inter, false);
  return routing + packed_forms(numerics, s.count, d, true) + std::max(batch, shared);
}

}  // namespace

namespace {

// Scratch per token is dominated by streams, queries and expert rows.
std::int64_t tokens_in(const ModelConfig& c, std::int64_t budget, std::int64_t most) {
  const std::int64_t per_token = 4 * (2 * c.hc_mult * c.hidden_size + 2 * c.num_attention_heads * c.head_dim +
                                      c.num_experts_per_tok * (c.hidden_size + 2 * c.moe_intermediate_size));
  return std::clamp<std::int64_t>(budget / per_token / 128 * 128, 128, most);
}

}  // namespace

std::int64_t preferred_step(const ModelConfig& c) {
  // 256 MiB are small beside the weights of a large model, and 512 tokens already amortise a pass over every expert of
  // a small one.
  constexpr std::int64_t kBudget = std::int64_t{256} << 20;
  return tokens_in(c, kBudget, 1024);
}

std::int64_t preferred_step(const ModelConfig& c, std::int64_t expert_memory_bytes) {
  // 4,096 tokens take about as long to compute on a few cores as all experts of Flash take to read at 2 GB/s.
  const auto budget = static_cast<std::int64_t>(kLongStepShare * static_cast<double>(expert_memory_bytes));
  return std::max(preferred_step(c), tokens_in(c, budget, 4096));
}

std::int64_t step_footprint(const ModelConfig& c, const Numerics& numerics, const RowFormat& format,
                            const StepShape& shape) {
  const std::int64_t n = c.hc_mult, d = c.hidden_size;
  std::int64_t most = expert_bytes(c, numerics, shape);
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l)
    most = std::max(most, attention_bytes(c, numerics, format, shape, c.ratio(l)));
  const std::int64_t mixing = 2 * shape.count * (2 + n) * n * kFloat;
  // Coefficients are computed from float32 streams before the sub-block itself takes memory.
  most =
      std::max(most, shape.count * (2 + n) * n * kFloat + activation_bytes(ActivationKind::kF32, shape.count, n * d));
  return ((shape.count + 1) * n * d + 2 * shape.count * d) * kFloat + mixing + most;
}

}  // namespace hadal
