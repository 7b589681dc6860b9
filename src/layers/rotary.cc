#include "layers/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hadal {
namespace {

// base^(-2i/rd) with float32 operands; pow in double rounds correctly to float32 where float32 implementations differ.
std::vector<float> powers(double base, std::int64_t rd) {
  std::vector<float> f(static_cast<std::size_t>(rd / 2));
  for (std::size_t i = 0; i < f.size(); ++i) {
    float exponent = static_cast<float>(2 * i) / static_cast<float>(rd);
    f[i] = 1.0f /
           static_cast<float>(std::pow(static_cast<double>(static_cast<float>(base)), static_cast<double>(exponent)));
  }
  return f;
}

}  // namespace

std::vector<float> plain_frequencies(const ModelConfig& config) {
  return powers(config.rope_theta, config.qk_rope_head_dim);
}

std::vector<float> compressed_frequencies(const ModelConfig& config) {
  std::int64_t rd = config.qk_rope_head_dim;
  double base = config.compress_rope_theta;
  std::vector<float> f = powers(base, rd);
  const YarnScaling& yarn = config.rope_scaling;
  if (yarn.original_max_position_embeddings <= 0) return f;
  auto correction = [&](double rotations) {
    return static_cast<double>(rd) *
           std::log(static_cast<double>(yarn.original_max_position_embeddings) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(base));
  };
  double lo = std::max(std::floor(correction(yarn.beta_fast)), 0.0);
  double hi = std::min(std::ceil(correction(yarn.beta_slow)), static_cast<double>(rd - 1));
  float span = hi == lo ? 1e-3f : static_cast<float>(hi - lo);  // the official guard against a zero denominator
  for (std::size_t i = 0; i < f.size(); ++i) {
    float ramp = std::clamp((static_cast<float>(i) - static_cast<float>(lo)) / span, 0.0f, 1.0f);
    float keep = 1.0f - ramp;
    f[i] = f[i] / static_cast<float>(yarn.factor) * (1.0f - keep) + f[i] * keep;
  }
  return f;
}

Rotation rotation_rows(const Step& step, const std::vector<float>& frequencies, Position first, std::int64_t stride,
                       std::int64_t count) {
  auto pairs = static_cast<std::int64_t>(frequencies.size());
  float* cos_rows = step.workspace.take<float>(count * pairs);
  float* sin_rows = step.workspace.take<float>(count * pairs);
  float* neg_rows = step.workspace.take<float>(count * pairs);
  step.parallel(count, count * pairs * 40, [&](std::int64_t row, int) {
    auto position = static_cast<float>(first + row * stride);
    for (std::int64_t i = 0; i < pairs; ++i) {
      double angle = static_cast<double>(position * frequencies[static_cast<std::size_t>(i)]);  // product in float32
      std::int64_t at = row * pairs + i;
      cos_rows[at] = static_cast<float>(std::cos(angle));
      sin_rows[at] = static_cast<float>(std::sin(angle));
      neg_rows[at] = -sin_rows[at];
    }
  });
  return {cos_rows, sin_rows, neg_rows, pairs, first, stride};
}

}  // namespace hadal
