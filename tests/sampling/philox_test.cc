#include "sampling/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace hadal {
namespace {

// The published known answers for philox4x32 with 10 rounds (Random123, kat_vectors).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Uniform, EveryFieldMatters) {
  std::set<double> seen;
  for (std::uint64_t a : {0ull, 1ull, 1ull << 32}) {
    for (std::uint64_t b : {0ull, 1ull, 1ull << 32}) {
      for (std::uint64_t c : {0ull, 1ull, 1ull << 32}) seen.insert(uniform({a, b, c}));
    }
  }
  EXPECT_EQ(seen.size(), 27u);
}

TEST(Uniform, IsUniformOverPositions) {
  constexpr int kBins = 64, kDraws = 64000;
  int count[kBins] = {};
  double mean = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = uniform({42, static_cast<std::uint64_t>(i), 0});
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    mean += u / kDraws;
    ++count[static_cast<int>(u * kBins)];
  }
  double chi2 = 0;
  for (int c : count) chi2 += (c - 1000.0) * (c - 1000.0) / 1000.0;
  EXPECT_LT(chi2, 103.4);  // 63 degrees of freedom, p = 0.001
  EXPECT_GT(chi2, 34.0);   // and not suspiciously even
  EXPECT_NEAR(mean, 0.5, 4 * 0.2887 / std::sqrt(kDraws));
}

}  // namespace
}  // namespace hadal
