// FP8 "E4M3fn": sign, 4 exponent bits (bias 7), 3 mantissa bits. No infinity; 0x7F and 0xFF are NaN; largest 448;
// subnormal step 2^-9.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "numbers/minifloat.h"

namespace hadal {

inline constexpr float kE4m3Max = 448.0f;
inline constexpr std::uint8_t kE4m3Nan = 0x7F;  // with either sign

constexpr bool e4m3_is_nan(std::uint8_t code) { return (code & 0x7F) == kE4m3Nan; }

namespace numbers {
constexpr std::array<float, 256> e4m3_values() {
  std::array<float, 256> values{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = (code >> 3) & 15, mantissa = code & 7;
    double v = exponent == 0 ? mantissa : 8 + mantissa;              // in units of the binade's step
    for (int e = exponent == 0 ? 1 : exponent; e < 10; ++e) v /= 2;  // step is 2^(e-10)
    for (int e = 10; e < exponent; ++e) v *= 2;
    if ((code & 0x7F) == kE4m3Nan) v = std::numeric_limits<double>::quiet_NaN();
    values[static_cast<std::size_t>(code)] = static_cast<float>(code & 0x80 ? -v : v);
  }
  return values;
}
}  // namespace numbers

inline constexpr std::array<float, 256> kE4m3Values = numbers::e4m3_values();

constexpr float e4m3_to_float(std::uint8_t code) { return kE4m3Values[code]; }

// Nearest code, ties to even, saturating at +-448 (never to NaN); the sign of zero is kept. NaN gives NaN.
constexpr std::uint8_t e4m3_from_double(double x) {
  const std::uint8_t sign = std::bit_cast<std::uint64_t>(x) >> 63 ? 0x80 : 0;
  if (x != x) return sign | kE4m3Nan;
  const double magnitude = x < 0 ? -x : x;
  if (magnitude >= kE4m3Max) return sign | 0x7E;
  return static_cast<std::uint8_t>(sign | numbers::round_to_code<3, 7>(magnitude == 0 ? 0.0 : magnitude));
}

}  // namespace hadal
