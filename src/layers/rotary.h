// Rotary embedding of the last rd channels, adjacent pairs (spec 4.2). Two frequency tables: plain for layers of ratio
// 0, YaRN for layers that compress.
#pragma once

#include <vector>

#include "layers/step.h"

namespace hadal {

// f_i, i = 0 .. rd/2-1, evaluated in float32 as the official program does.
std::vector<float> plain_frequencies(const ModelConfig& config);
std::vector<float> compressed_frequencies(const ModelConfig& config);

// cos and sin of position * f_i: the product in float32, then cos and sin accurately. Rows of `pairs` floats.
struct Rotation {
  const float* cos = nullptr;
  const float* sin = nullptr;      // sin of the angle
  const float* neg_sin = nullptr;  // for the inverse rotation
  std::int64_t pairs = 0;
  std::int64_t first = 0, stride = 1;  // row of position p: (p - first) / stride

  std::int64_t row(Position p) const { return (p - first) / stride; }
};

// Rows for positions first, first + stride, ... (`count` of them), in the step's workspace.
Rotation rotation_rows(const Step& step, const std::vector<float>& frequencies, Position first, std::int64_t stride,
                       std::int64_t count);

// Rotates the last 2*pairs channels of x [dim] to position p, or back.
inline void rotate(const Step& step, const Rotation& r, Position p, float* x, std::int64_t dim, bool inverse = false) {
  std::int64_t at = r.row(p) * r.pairs;
  step.kernels.rotate(x + dim - 2 * r.pairs, r.cos + at, (inverse ? r.neg_sin : r.sin) + at, r.pairs);
}

}  // namespace hadal
