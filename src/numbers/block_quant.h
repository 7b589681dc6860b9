// Block quantisation of activations and cache entries, as the model was trained with it (architecture: numerics).
// Per block of consecutive values:
//   a = max(max|x|, floor);  s = 2^ceil(log2(a * (1/qmax)));  code = nearest(clamp(x/s, -qmax, qmax));  x' =
//   value(code) * s
// The product is float32 with the rounded reciprocal, as in the released kernels, and the exponent is read off its
// bits: whenever its mantissa is nonzero the exponent rounds up.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>

#include "numbers/e2m1.h"
#include "numbers/e4m3.h"

namespace hadal {

struct BlockFormat {
  float max;         // largest value of the element format
  float floor;       // least amax, so that blocks of zeros have a scale
  float reciprocal;  // 1/max rounded to float32
  std::uint8_t (*encode)(double);
  float (*decode)(std::uint8_t);
};

inline constexpr BlockFormat kFp8Blocks{kE4m3Max, 1e-4f, 1.0f / kE4m3Max, e4m3_from_double, e4m3_to_float};
inline constexpr BlockFormat kFp4Blocks{kE2m1Max, 6 * 0x1p-126f, 1.0f / kE2m1Max, e2m1_from_double, e2m1_to_float};

// k where the block's scale is 2^k; `amax` is the largest magnitude, finite. At least -126 for both formats.
constexpr int block_scale_exponent(float amax, const BlockFormat& format) {
  const float product = (amax > format.floor ? amax : format.floor) * format.reciprocal;
  const auto bits = std::bit_cast<std::uint32_t>(product);
  return static_cast<int>(bits >> 23) - 127 + ((bits & 0x7FFFFFu) != 0 ? 1 : 0);
}

// Codes of one block, one byte each (x.size() of them); returns k of its scale 2^k. T is float or double.
template <class T>
int encode_block(std::span<const T> x, const BlockFormat& format, std::uint8_t* codes) {
  T amax = 0;
  for (T v : x) amax = std::max(amax, std::abs(v));
  const int exponent = block_scale_exponent(static_cast<float>(amax), format);
  // Dividing by a power of two is exact in double for every float32 and for every double that matters here.
  const double inverse = std::ldexp(1.0, -exponent);
  for (std::size_t i = 0; i < x.size(); ++i) codes[i] = format.encode(static_cast<double>(x[i]) * inverse);
  return exponent;
}

// The round trip in place, blocks of `block` values, the last one possibly shorter. T is float or double.
template <class T>
void round_blocks(std::span<T> x, std::size_t block, const BlockFormat& format) {
  for (std::size_t begin = 0; begin < x.size(); begin += block) {
    std::span<T> part = x.subspan(begin, std::min(block, x.size() - begin));
    T amax = 0;
    for (T v : part) amax = std::max(amax, std::abs(v));
    const int exponent = block_scale_exponent(static_cast<float>(amax), format);
    const double inverse = std::ldexp(1.0, -exponent), scale = std::ldexp(1.0, exponent);
    for (T& v : part)
      v = static_cast<T>(static_cast<double>(format.decode(format.encode(static_cast<double>(v) * inverse))) * scale);
  }
}

template <class T>
void round_blocks_fp8(std::span<T> x, std::size_t block) {
  round_blocks(x, block, kFp8Blocks);
}
template <class T>
void round_blocks_fp4(std::span<T> x, std::size_t block) {
  round_blocks(x, block, kFp4Blocks);
}

}  // namespace hadal
