#include "sampling/portable_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace hadal {
namespace {

double ulps(double got, double want) {
  return std::abs(got - want) / (std::nextafter(std::abs(want), INFINITY) - std::abs(want));
}

TEST(PortableExp, WithinTwoUlps) {
  EXPECT_EQ(portable_exp(0.0), 1.0);
  EXPECT_EQ(portable_exp(-0.0), 1.0);
  double worst = 0;
  for (int i = 1; i < 200000; ++i) {
    const double x = -708.0 * i / 200000;
    worst = std::max(worst, ulps(portable_exp(x), static_cast<double>(std::exp(static_cast<long double>(x)))));
  }
  EXPECT_LT(worst, 2.0);
}

TEST(PortableExp, EndsAtZero) {
  EXPECT_GT(portable_exp(-707.99), 0.0);
  EXPECT_EQ(portable_exp(-708.0), 0.0);
  EXPECT_EQ(portable_exp(-1e300), 0.0);
  EXPECT_EQ(portable_exp(-INFINITY), 0.0);
  EXPECT_EQ(portable_exp(NAN), 0.0);
}

TEST(PortableLog, WithinTwoAndAHalfUlps) {
  EXPECT_EQ(portable_log(1.0), 0.0);
  double worst = 0;
  for (int i = 1; i < 100000; ++i) {
    for (double x : {i * 1e-5, 1.0 + i, std::ldexp(1.0 + i * 1e-5, i % 2000 - 1000)}) {
      const double want = static_cast<double>(std::log(static_cast<long double>(x)));
      if (want != 0) worst = std::max(worst, ulps(portable_log(x), want));
    }
  }
  EXPECT_LT(worst, 2.5);
}

// Fixed bits: the same on every processor and compiler that follows IEEE 754.
TEST(PortableMath, PinnedBits) {
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a over the results' bits
  const auto add = [&](double x) { hash = (hash ^ std::bit_cast<std::uint64_t>(x)) * 1099511628211u; };
  for (int i = 0; i < 10000; ++i) {
    add(portable_exp(-0.0703125 * i));
    add(portable_log(0.15625 * (i + 1)));
  }
  EXPECT_EQ(hash, 17181422076890232866u);
}

}  // namespace
}  // namespace hadal
