// FP4 "E2M1": sign, 2 exponent bits (bias 1), 1 mantissa bit. Codes 0..7 are 0, 0.5, 1, 1.5, 2, 3, 4, 6; bit 3 is the
// sign. No infinity, no NaN. Two codes share a byte: the low nibble is the even column.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "numbers/minifloat.h"

namespace hadal {

inline constexpr float kE2m1Max = 6.0f;

inline constexpr std::array<float, 16> kE2m1Values = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                                      -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

// Only the low four bits of `code` count.
constexpr float e2m1_to_float(std::uint8_t code) { return kE2m1Values[code & 15]; }

// Nearest code, ties to even, saturating at +-6; the sign of zero is kept. NaN gives the largest code of its sign: the
// format has no NaN, and callers quantise finite values.
constexpr std::uint8_t e2m1_from_double(double x) {
  const std::uint8_t sign = std::bit_cast<std::uint64_t>(x) >> 63 ? 8 : 0;
  const double magnitude = x < 0 ? -x : x;
  if (!(magnitude < kE2m1Max)) return sign | 7;
  return static_cast<std::uint8_t>(sign | numbers::round_to_code<1, 1>(magnitude == 0 ? 0.0 : magnitude));
}

}  // namespace hadal
