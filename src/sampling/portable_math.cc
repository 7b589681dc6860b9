#include "sampling/portable_math.h"

#include <bit>
#include <cstdint>

namespace hadal {
namespace {

// ln 2 in two parts: the high part has 21 trailing zero bits, so k * kLn2High is exact for |k| < 2^21.
constexpr double kLn2High = 0x1.62e42fee00000p-1;
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kInverseLn2 = 0x1.71547652b82fep+0;

}  // namespace

double portable_exp(double x) {
  if (!(x > -708)) return 0;
  // x = k ln 2 + r with |r| <= ln2 / 2; adding 1.5 * 2^52 rounds to the nearest integer.
  constexpr double kRound = 0x1.8p52;
  const double k = (x * kInverseLn2 + kRound) - kRound;
  const double r = (x - k * kLn2High) - k * kLn2Low;
  // Taylor series to r^13: the next term is below 2^-57 for |r| <= 0.347.
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  const double value = 1.0 + (r + r * r * p);
  const auto exponent = static_cast<std::uint64_t>(static_cast<std::int64_t>(k) + 1023);
  return value * std::bit_cast<double>(exponent << 52);
}

double portable_log(double x) {
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1), |s| < 0.172.
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto e = static_cast<std::int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  if (m > 0x1.6a09e667f3bcdp+0) {
    m *= 0.5;
    ++e;
  }
  const double s = (m - 1) / (m + 1), z = s * s;
  double p = 0;  // sum of z^k / (2k+1), k = 1..11: the next term is below 2^-62
  for (int k = 11; k >= 1; --k) p = p * z + 1.0 / (2 * k + 1);
  const double log_m = 2 * s + 2 * s * (z * p);
  const auto n = static_cast<double>(e);
  return n * kLn2High + (log_m + n * kLn2Low);
}

}  // namespace hadal
