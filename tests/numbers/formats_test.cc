#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "numbers/bf16.h"
#include "numbers/e2m1.h"
#include "numbers/e4m3.h"
#include "numbers/e8m0.h"
#include "support/golden.h"

namespace hadal {
namespace {

SafetensorsFile ops() { return SafetensorsFile::open(test::golden_path("model/ops.safetensors")).value(); }

// The code nearest to x among [0, count), ties to the even code: the definition, by exhaustive search.
int nearest(double x, const float* values, int count) {
  int best = 0;
  for (int c = 1; c < count; ++c) {
    const double old = std::abs(x - values[best]), now = std::abs(x - values[c]);
    if (now < old || (now == old && c % 2 == 0)) best = c;
  }
  return best;
}

TEST(E2m1, TableMatchesGolden) {
  const auto table = test::tensor<float>(ops(), "e2m1.table");
  ASSERT_EQ(table.size(), 16u);
  for (int c = 0; c < 16; ++c) {
    EXPECT_EQ(e2m1_to_float(static_cast<std::uint8_t>(c)), table[static_cast<std::size_t>(c)]);
    EXPECT_EQ(std::signbit(e2m1_to_float(static_cast<std::uint8_t>(c))), c >= 8);
  }
}

TEST(E4m3, TableMatchesGolden) {
  const auto table = test::tensor<float>(ops(), "e4m3.table");
  ASSERT_EQ(table.size(), 256u);
  for (int c = 0; c < 256; ++c) {
    const float got = e4m3_to_float(static_cast<std::uint8_t>(c)), want = table[static_cast<std::size_t>(c)];
    EXPECT_EQ(std::isnan(got), std::isnan(want)) << c;
    if (!std::isnan(want)) {
      EXPECT_EQ(got, want) << c;
    }
    EXPECT_EQ(e4m3_is_nan(static_cast<std::uint8_t>(c)), c == 0x7F || c == 0xFF);
  }
}

TEST(E2m1, EncodesEveryValueTieAndNeighbour) {
  for (int c = 0; c < 8; ++c) {
    const double v = kE2m1Values[static_cast<std::size_t>(c)];
    const double next = c < 7 ? kE2m1Values[static_cast<std::size_t>(c) + 1] : 7;
    for (double x : {v, (v + next) / 2, std::nextafter((v + next) / 2, 0), std::nextafter((v + next) / 2, 9)}) {
      const int want = nearest(x, kE2m1Values.data(), 8);
      EXPECT_EQ(e2m1_from_double(x), want) << x;
      EXPECT_EQ(e2m1_from_double(-x), want | 8) << x;
    }
  }
  EXPECT_EQ(e2m1_from_double(1e300), 7);
  EXPECT_EQ(e2m1_from_double(-std::numeric_limits<double>::infinity()), 15);
  EXPECT_EQ(e2m1_from_double(-0.0), 8);
  EXPECT_EQ(e2m1_from_double(5e-324), 0);
}

TEST(E4m3, EncodesEveryValueTieAndNeighbour) {
  for (int c = 0; c < 127; ++c) {
    const double v = kE4m3Values[static_cast<std::size_t>(c)];
    const double next = c < 126 ? kE4m3Values[static_cast<std::size_t>(c) + 1] : 480;
    const double tie = (v + next) / 2;
    for (double x : {v, tie, std::nextafter(tie, 0), std::nextafter(tie, 1e9), std::nextafter(v, 1e9)}) {
      const int want = nearest(x, kE4m3Values.data(), 127);
      EXPECT_EQ(e4m3_from_double(x), want) << x;
      EXPECT_EQ(e4m3_from_double(-x), want | 0x80) << x;
    }
  }
  EXPECT_EQ(e4m3_from_double(1e300), 0x7E) << "saturates, never NaN";
  EXPECT_EQ(e4m3_from_double(-std::numeric_limits<double>::infinity()), 0xFE);
  EXPECT_EQ(e4m3_from_double(-0.0), 0x80);
  EXPECT_EQ(e4m3_from_double(5e-324), 0);
  EXPECT_TRUE(e4m3_is_nan(e4m3_from_double(std::nan(""))));
}

TEST(E8m0, EveryCode) {
  for (int b = 0; b < 255; ++b) EXPECT_EQ(e8m0_to_float(static_cast<std::uint8_t>(b)), std::ldexp(1.0, b - 127)) << b;
  EXPECT_TRUE(std::isnan(e8m0_to_float(255)));
  EXPECT_EQ(e8m0_from_exponent(-127), 0);
  EXPECT_EQ(e8m0_from_exponent(127), 254);
}

TEST(Bf16, RoundsToNearestEven) {
  for (std::uint32_t b = 0; b < 65536; ++b) {
    const auto bits = static_cast<std::uint16_t>(b);
    const float v = bf16_to_float(bits);
    if (std::isnan(v)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(bf16_from_float(v)))) << b;
    } else {
      ASSERT_EQ(bf16_from_float(v), bits);
    }
  }
  EXPECT_EQ(bf16_from_float(1.0f + 0x1p-8f), 0x3F80) << "tie to even, down";
  EXPECT_EQ(bf16_from_float(1.0f + 3 * 0x1p-8f), 0x3F82) << "tie to even, up";
  EXPECT_EQ(bf16_from_float(std::nextafter(1.0f + 0x1p-8f, 2.0f)), 0x3F81);
  EXPECT_EQ(bf16_from_float(std::numeric_limits<float>::max()), 0x7F80);
}

// A NaN whose payload lives in the low half only must not become infinity.
TEST(Bf16, KeepsNan) { EXPECT_TRUE(std::isnan(bf16_to_float(bf16_from_float(std::bit_cast<float>(0x7F800001u))))); }

}  // namespace
}  // namespace hadal
