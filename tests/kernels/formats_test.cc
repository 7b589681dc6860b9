// The lane conversions give what numbers/ defines, on every set.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include "kernels/compare_sets.h"
#include "machine/thread_pool.h"
#include "numbers/bf16.h"
#include "numbers/block_quant.h"
#include "numbers/e2m1.h"
#include "numbers/e4m3.h"

namespace hadal::testing {
namespace {

class Formats : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (GetParam() >= available_kernels().count) GTEST_SKIP() << "not on this machine";
  }
  const KernelTable& set() const { return *available_kernels().list[GetParam()]; }
};

TEST_P(Formats, E4m3DecodesEveryCode) {
  const RowShape shape{256, 0};
  std::vector<std::byte> row(static_cast<std::size_t>(shape.packed_bytes()));
  for (int c = 0; c < 256; ++c) row[static_cast<std::size_t>(c)] = static_cast<std::byte>(c);
  for (int b = 0; b < 4; ++b) row[static_cast<std::size_t>(256 + b)] = std::byte{127};  // scale 1
  std::vector<float> kv(256), want(kE4m3Values.begin(), kE4m3Values.end());
  set().decode_row(shape, row.data(), kv.data());
  EXPECT_EQ(difference("code", kv.data(), want.data(), 256), "");
}

TEST_P(Formats, E2m1DecodesEveryCode) {
  std::vector<std::byte> tile(kFp4TileBytes, std::byte{127});
  for (int lane = 0; lane < 16; ++lane)
    for (int i = 0; i < 16; ++i)
      tile[static_cast<std::size_t>(i / 4 * 64 + lane * 4 + i % 4)] = static_cast<std::byte>(i | (15 - i) << 4);
  float key[32];
  set().decode_index_key(tile.data(), 5, 32, key);
  for (int k = 0; k < 32; ++k) {
    const int byte = k / 8 * 4 + k % 4, code = k % 8 < 4 ? byte : 15 - byte;
    const float want = e2m1_to_float(static_cast<std::uint8_t>(code));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(key[k]), std::bit_cast<std::uint32_t>(want)) << k;
  }
}

// Round trips over ordinary, tiny, huge and half-way values, zeros and short blocks.
TEST_P(Formats, BlockRoundTripsAsDefined) {
  for (int seed = 0; seed < 200; ++seed) {
    Random random(static_cast<std::uint64_t>(seed));
    const std::int64_t n = random.range(1, 200);
    auto x = random.anys(n);
    for (float& v : x)  // the reference keeps denormals that kernels flush
      if (std::abs(v) < 0x1p-126f) v = 0;
    auto fp8 = x, fp8_want = x, fp4 = x, fp4_want = x;
    round_blocks(std::span<float>(fp8_want), 64, kFp8Blocks);
    round_blocks(std::span<float>(fp4_want), 32, kFp4Blocks);
    for (float& v : fp4_want)
      if (std::abs(v) < 0x1p-126f) v = std::copysign(0.0f, v);
    const FlushDenormals flush;
    set().round_fp8(fp8.data(), n, 64);
    set().round_fp4(fp4.data(), n, 32);
    ASSERT_EQ(difference("fp8", fp8.data(), fp8_want.data(), n), "") << seed;
    ASSERT_EQ(difference("fp4", fp4.data(), fp4_want.data(), n), "") << seed;
  }
}

TEST_P(Formats, Bf16RoundsAsDefined) {
  const FlushDenormals flush;
  Random random(1);
  for (int round = 0; round < 50; ++round) {
    std::vector<float> x(64);
    for (float& v : x) {
      v = random.any();
      if (random.range(0, 3) == 0)  // exact ties
        v = std::bit_cast<float>((std::bit_cast<std::uint32_t>(random.normal()) & 0xffff0000u) | 0x8000u);
    }
    const PackedActivations p = pack(set(), ActivationKind::kBf16, x, 1, 64);
    for (std::size_t i = 0; i < 64; ++i) {
      std::uint16_t got;
      std::memcpy(&got, p.data.data() + 2 * i, 2);
      const float rounded = bf16_to_float(bf16_from_float(x[i]));
      const std::uint16_t want = std::abs(rounded) < 0x1p-96f ? 0 : bf16_from_float(x[i]);
      ASSERT_EQ(got, want) << x[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, Formats, ::testing::Values(0, 1, 2));

}  // namespace
}  // namespace hadal::testing
