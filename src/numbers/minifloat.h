// Rounding to a small float format, shared by E2M1 and E4M3. Integer arithmetic on the bits of a double: the answer
// does not depend on the rounding mode, nor on flush-to-zero.
#pragma once

#include <bit>
#include <cstdint>

namespace hadal::numbers {

// Code of the value nearest to `magnitude` (finite, >= 0), ties to the even code, for a format with `kMantissa`
// mantissa bits and exponent bias `kBias`, subnormals included. Not clamped: the caller saturates. Codes ascend with
// the value.
template <int kMantissa, int kBias>
constexpr std::uint32_t round_to_code(double magnitude) {
  constexpr int kDoubleMantissa = 52, kDoubleBias = 1023;
  constexpr int kDrop = kDoubleMantissa - kMantissa;  // mantissa bits that go in a normal result
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(magnitude);
  const int exponent = static_cast<int>(bits >> kDoubleMantissa) - kDoubleBias;
  // Below the smallest normal 2^(1-kBias) the step stays that of the first binade, so more bits are dropped.
  const int deficit = (1 - kBias) - exponent;
  std::uint64_t significand;
  int drop = kDrop;
  if (deficit <= 0) {
    // Exponent and mantissa rounded as one integer: a carry out of the mantissa is the next binade, as it should be.
    significand = bits - (static_cast<std::uint64_t>(kDoubleBias - kBias) << kDoubleMantissa);
  } else {
    if (deficit > kMantissa + 1) return 0;  // below half of the smallest subnormal
    significand = (bits & ((std::uint64_t{1} << kDoubleMantissa) - 1)) | (std::uint64_t{1} << kDoubleMantissa);
    drop += deficit;
  }
  const std::uint64_t kept = significand >> drop;
  const std::uint64_t rest = significand & ((std::uint64_t{1} << drop) - 1);
  const std::uint64_t half = std::uint64_t{1} << (drop - 1);
  const bool up = rest > half || (rest == half && (kept & 1) != 0);
  return static_cast<std::uint32_t>(kept + (up ? 1 : 0));
}

}  // namespace hadal::numbers
