// E8M0 scales: byte b is 2^(b-127), b = 255 is NaN. There is no zero and no sign.
#pragma once

#include <bit>
#include <cstdint>

namespace hadal {

inline constexpr std::uint8_t kE8m0Nan = 255;

// Exact in float32; b = 0 is the subnormal 2^-127, which threads that flush denormals read as zero.
constexpr float e8m0_to_float(std::uint8_t b) {
  if (b == kE8m0Nan) return std::bit_cast<float>(0x7FC00000u);
  return std::bit_cast<float>(b == 0 ? 0x00400000u : static_cast<std::uint32_t>(b) << 23);
}

// The byte of 2^exponent; exponent in [-127, 127].
constexpr std::uint8_t e8m0_from_exponent(int exponent) { return static_cast<std::uint8_t>(exponent + 127); }

}  // namespace hadal
