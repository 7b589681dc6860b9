#include "numbers/block_quant.h"

#include <gtest/gtest.h>

#include <random>

#include "support/golden.h"

namespace hadal {
namespace {

SafetensorsFile ops() { return SafetensorsFile::open(test::golden_path("model/ops.safetensors")).value(); }

template <class T>
void expect_golden(const std::string& x, const std::string& y, const std::string& scale, std::size_t row,
                   std::size_t block, const BlockFormat& format) {
  const SafetensorsFile file = ops();
  const auto input = test::tensor<float>(file, x), want = test::tensor<float>(file, y),
             scales = test::tensor<float>(file, scale);
  ASSERT_FALSE(input.empty());
  ASSERT_EQ(scales.size(), input.size() / block);
  std::vector<T> values(input.begin(), input.end());
  for (std::size_t r = 0; r < values.size(); r += row)
    round_blocks(std::span<T>(values).subspan(r, row), block, format);
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(static_cast<float>(values[i]), want[i]) << y << " at " << i;
  for (std::size_t b = 0; b < scales.size(); ++b) {
    std::vector<std::uint8_t> codes(block);
    const std::span<const float> part(input.data() + b * block, block);
    const int exponent = encode_block(part, format, codes.data());
    EXPECT_EQ(std::ldexp(1.0f, exponent), scales[b]) << scale << " block " << b;
    for (std::size_t i = 0; i < block; ++i)
      ASSERT_EQ(static_cast<float>(std::ldexp(static_cast<double>(format.decode(codes[i])), exponent)),
                want[b * block + i]);
  }
}

TEST(BlockQuant, GoldenFp8Blocks64) {
  expect_golden<float>("fp8.x", "fp8.y64", "fp8.scale64", 256, 64, kFp8Blocks);
  expect_golden<double>("fp8.x", "fp8.y64", "fp8.scale64", 256, 64, kFp8Blocks);
}
TEST(BlockQuant, GoldenFp8Blocks128) {
  expect_golden<float>("fp8.x", "fp8.y128", "fp8.scale128", 256, 128, kFp8Blocks);
  expect_golden<double>("fp8.x", "fp8.y128", "fp8.scale128", 256, 128, kFp8Blocks);
}
TEST(BlockQuant, GoldenFp4Blocks32) {
  expect_golden<float>("fp4.x", "fp4.y", "fp4.scale", 128, 32, kFp4Blocks);
  expect_golden<double>("fp4.x", "fp4.y", "fp4.scale", 128, 32, kFp4Blocks);
}

// At amax = qmax * 2^k the scale stays 2^k; one float above, it doubles.
TEST(BlockQuant, ScaleAtTheBoundary) {
  for (const BlockFormat* format : {&kFp8Blocks, &kFp4Blocks})
    for (int k = -20; k <= 100; ++k) {
      const float a = std::ldexp(format->max, k);
      if (a <= format->floor) continue;
      EXPECT_EQ(block_scale_exponent(a, *format), k);
      EXPECT_EQ(block_scale_exponent(std::nextafter(a, 0.0f), *format), k);
      EXPECT_EQ(block_scale_exponent(a * 1.001f, *format), k + 1);
      EXPECT_EQ(block_scale_exponent(a / 1.99f, *format), k);
    }
  EXPECT_EQ(block_scale_exponent(0.0f, kFp4Blocks), -126);
  EXPECT_EQ(block_scale_exponent(0.0f, kFp8Blocks), -22) << "1e-4/448 = 2.2e-7 rounds up to 2^-22";
}

TEST(BlockQuant, RoundTripIsIdempotentAndKeepsShortTails) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> x(150);
  for (float& v : x) v = normal(random);
  std::vector<float> once = x;
  round_blocks_fp8(std::span<float>(once), 64);
  EXPECT_NE(once, x);
  std::vector<float> tail(x.begin() + 128, x.end());
  round_blocks_fp8(std::span<float>(tail), 64);
  EXPECT_TRUE(std::equal(tail.begin(), tail.end(), once.begin() + 128))
      << "the last 22 values are a block of their own";
  std::vector<float> twice = once;
  round_blocks_fp8(std::span<float>(twice), 64);
  EXPECT_EQ(twice, once);
}

}  // namespace
}  // namespace hadal
