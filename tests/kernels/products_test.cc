#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/compare_sets.h"
#include "kernels/self_check.h"
#include "machine/thread_pool.h"
#include "numbers/bf16.h"

namespace hadal::testing {
namespace {

constexpr double kHalfUlp = 0x1p-24;  // relative rounding error of one float32 operation

struct Form {
  Encoding encoding;
  ActivationKind kind;
};
constexpr Form kForms[] = {{Encoding::kFp4, ActivationKind::kF32},   {Encoding::kFp4, ActivationKind::kBf16},
                           {Encoding::kFp4, ActivationKind::kInt8},  {Encoding::kFp8, ActivationKind::kF32},
                           {Encoding::kFp8, ActivationKind::kBf16},  {Encoding::kBf16, ActivationKind::kF32},
                           {Encoding::kBf16, ActivationKind::kBf16}, {Encoding::kF32, ActivationKind::kF32}};

// The definition against sums in double. The bound per row: every float32 operation on the way errs by half an ulp of a
// partial sum, which is at most S = sum |w x|; a chain has at most 32 fused steps, a block three more, and blocks
// follow one another. int8 adds half a quantisation step, amax / 254, for each column.
TEST(Products, DefinitionAgainstDouble) {
  const FlushDenormals flush;
  const KernelTable& scalar = *available_kernels().list[0];
  for (const Form& form : kForms)
    for (std::int64_t cols : {1, 31, 32, 96, 128, 160, 500}) {
      Random random(static_cast<std::uint64_t>(cols) + 7);
      const std::int64_t rows = 37, count = 3;
      const RandomMatrix w = random_matrix(form.encoding, rows, cols, random, false);
      const auto x = random.normals(count * cols);
      const PackedActivations packed = pack(scalar, form.kind, x, count, cols);
      std::vector<float> y(static_cast<std::size_t>(count * rows));
      scalar.matmul(w.view, 0, w.view.tile_count(), packed.view, y.data(), rows);
      const double blocks = std::ceil(static_cast<double>(cols) / (form.encoding == Encoding::kFp4 ? 32 : 128));
      for (std::int64_t t = 0; t < count; ++t)
        for (std::int64_t r = 0; r < rows; ++r) {
          double sum = 0, magnitude = 0, steps = 0, amax = 0;
          for (std::int64_t k = 0; k < cols; ++k) {
            const float v = x[static_cast<std::size_t>(t * cols + k)];
            if (k % 32 == 0) {
              amax = 0;
              for (std::int64_t j = k; j < std::min(k + 32, cols); ++j)
                amax = std::max(amax, std::abs(static_cast<double>(x[static_cast<std::size_t>(t * cols + j)])));
            }
            const double weight = w.value(r, k);
            const double a = form.kind == ActivationKind::kBf16 ? static_cast<double>(bf16_to_float(bf16_from_float(v)))
                                                                : static_cast<double>(v);
            sum += weight * a;
            magnitude += std::abs(weight * a);
            if (form.kind == ActivationKind::kInt8) steps += std::abs(weight) * amax / 254 * (1 + 1e-5);
          }
          const double bound = (32 + 3 + blocks + 4) * kHalfUlp * (magnitude + steps) + steps;
          const double got = static_cast<double>(y[static_cast<std::size_t>(t * rows + r)]);
          ASSERT_LE(std::abs(got - sum), bound) << "encoding " << static_cast<int>(form.encoding) << " kind "
                                                << static_cast<int>(form.kind) << " cols " << cols << " row " << r;
        }
    }
}

// A token's result depends on its own row alone: not on its place in a batch, the group's size, or the tiles asked for.
TEST(Products, IndependentOfBatchAndTiles) {
  const FlushDenormals flush;
  const KernelTables sets = available_kernels();
  for (int s = 0; s < sets.count; ++s)
    for (const Form& form : kForms) {
      const KernelTable& set = *sets.list[s];
      Random random(11);
      const std::int64_t rows = 70, cols = 224, count = 20;
      const RandomMatrix w = random_matrix(form.encoding, rows, cols, random, false);
      const auto x = random.normals(count * cols);
      std::vector<float> alone(static_cast<std::size_t>(count * rows));
      for (std::int64_t t = 0; t < count; ++t) {
        const std::vector<float> row(x.begin() + t * cols, x.begin() + (t + 1) * cols);
        const PackedActivations one = pack(set, form.kind, row, 1, cols);
        set.matmul(w.view, 0, w.view.tile_count(), one.view, alone.data() + t * rows, rows);
      }
      for (std::int64_t n = 1; n <= count; ++n) {
        const PackedActivations batch = pack(set, form.kind, x, n, cols);
        std::vector<float> y(static_cast<std::size_t>(n * rows), -1.0f);
        const std::int64_t split = n % (w.view.tile_count() + 1);  // two calls of different tile ranges
        set.matmul(w.view, 0, split, batch.view, y.data(), rows);
        set.matmul(w.view, split, w.view.tile_count(), batch.view, y.data(), rows);
        ASSERT_EQ(difference("y", y.data(), alone.data(), n * rows), "")
            << set.name << " encoding " << static_cast<int>(form.encoding) << " kind " << static_cast<int>(form.kind)
            << " batch " << n;
      }
    }
}

// Rows longer than what a set may keep at hand for several tokens, and a batch in which one token is out of the range
// it handles apart.
TEST(Products, LongRowsAndLargeTokens) {
  const FlushDenormals flush;
  const KernelTables sets = available_kernels();
  Random random(21);
  for (const auto& [cols, large] : {std::pair<std::int64_t, bool>{4128, false}, {5000, false}, {160, true}}) {
    const std::int64_t rows = 16, count = 11;
    const RandomMatrix w = random_matrix(Encoding::kFp8, rows, cols, random, false);
    auto x = random.normals(count * cols);
    if (large) x[static_cast<std::size_t>(6 * cols + 17)] = 0x1.8p21f;
    std::vector<float> want;
    for (int s = 0; s < sets.count; ++s) {
      const PackedActivations packed = pack(*sets.list[s], ActivationKind::kBf16, x, count, cols);
      std::vector<float> y(static_cast<std::size_t>(count * rows));
      sets.list[s]->matmul(w.view, 0, w.view.tile_count(), packed.view, y.data(), rows);
      if (s == 0) want = y;
      ASSERT_EQ(difference("y", y.data(), want.data(), count * rows), "") << sets.list[s]->name << " cols " << cols;
    }
  }
}

// The ends of what the exponent of a product of scales may be: no set may wrap around there.
TEST(Products, EndsOfInt8Scales) {
  const FlushDenormals flush;
  const KernelTables sets = available_kernels();
  Random random(22);
  for (const auto& [byte, amax] : {std::pair<int, float>{0, 0x1p-60f}, {255, 0x1p60f}}) {
    RandomMatrix w = random_matrix(Encoding::kFp4, 16, 32, random, false);
    std::memset(w.tiles.data() + 256, byte, 16);
    std::vector<float> x(32, amax), want(16);
    for (int s = 0; s < sets.count; ++s) {
      const PackedActivations packed = pack(*sets.list[s], ActivationKind::kInt8, x, 1, 32);
      std::vector<float> y(16);
      sets.list[s]->matmul(w.view, 0, 1, packed.view, y.data(), 16);
      if (s == 0) want = y;
      for (float v : y) ASSERT_TRUE(std::isfinite(v)) << sets.list[s]->name << " scale byte " << byte;
      ASSERT_EQ(difference("y", y.data(), want.data(), 16), "") << sets.list[s]->name << " scale byte " << byte;
    }
  }
}

// Rows beyond the matrix are padding in the last tile and must not be written.
TEST(Products, WritesOnlyItsRows) {
  const KernelTables sets = available_kernels();
  for (int s = 0; s < sets.count; ++s)
    for (std::int64_t rows = 1; rows <= 33; ++rows) {
      Random random(3);
      const RandomMatrix w = random_matrix(Encoding::kFp8, rows, 64, random, false);
      const PackedActivations x = pack(*sets.list[s], ActivationKind::kBf16, random.normals(3 * 64), 3, 64);
      std::vector<float> y(static_cast<std::size_t>(3 * rows + 16), 12345.0f);
      sets.list[s]->matmul(w.view, 0, w.view.tile_count(), x.view, y.data(), rows);
      for (std::size_t i = static_cast<std::size_t>(3 * rows); i < y.size(); ++i) ASSERT_EQ(y[i], 12345.0f) << rows;
    }
}

// int8 activations hold what kernels.h says: quads, then scales, then offsets, zero blocks with scale 1.
TEST(Products, Int8ActivationLayout) {
  const KernelTables sets = available_kernels();
  for (int s = 0; s < sets.count; ++s) {
    std::vector<float> x(2 * 64, 0.0f);
    for (int k = 0; k < 32; ++k)
      x[static_cast<std::size_t>(k)] = static_cast<float>(k - 16);  // token 0, block 0: amax 16
    x[64 + 40] = -3.0f;                                             // token 1, block 1
    const PackedActivations p = pack(*sets.list[s], ActivationKind::kInt8, x, 2, 64);
    ASSERT_EQ(p.data.size(), 2u * (64 + 16));
    auto word = [&](std::size_t i) {
      std::int32_t v;
      std::memcpy(&v, p.data.data() + 4 * i, 4);
      return v;
    };
    auto value = [&](int token, int k) {
      return static_cast<int>(
          static_cast<std::int8_t>(word(static_cast<std::size_t>(k / 4 * 2 + token)) >> (8 * (k % 4))));
    };
    for (int k = 0; k < 32; ++k)
      EXPECT_EQ(value(0, k), static_cast<int>(std::nearbyint((k - 16) * (127.0f / 16)))) << k;
    EXPECT_EQ(value(1, 40), -127);
    float scales[4];
    std::memcpy(scales, p.data.data() + 128, 16);
    EXPECT_EQ(scales[0], 16.0f / 127);
    EXPECT_EQ(scales[1], 1.0f);
    EXPECT_EQ(scales[3], 3.0f / 127);
    int sum = 0;
    for (int k = 0; k < 32; ++k) sum += value(0, k);
    EXPECT_EQ(word(36), -12 * sum);
    EXPECT_EQ(word(39), -12 * -127);
  }
}

TEST(Products, Bf16DotIsTwoFusedSteps) {
  if (!__builtin_cpu_supports("avx512bf16")) GTEST_SKIP() << "no avx512_bf16 here";
  EXPECT_TRUE(bf16_dot_is_two_fmas());
}

}  // namespace
}  // namespace hadal::testing
