#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/compare_sets.h"
#include "machine/thread_pool.h"

namespace hadal::testing {
namespace {

class Attention : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (GetParam() >= available_kernels().count) GTEST_SKIP() << "not on this machine";
  }
  const KernelTable& set() const { return *available_kernels().list[GetParam()]; }
  const FlushDenormals flush_;
};

struct Problem {
  RowShape shape;
  int heads;
  std::vector<float> q, kv, sinks;  // kv as decoded
  std::vector<std::byte> packed;
  std::vector<const std::byte*> packed_rows, float_rows;
};

Problem make(const KernelTable& set, RowShape shape, int heads, std::int64_t rows) {
  Random random(static_cast<std::uint64_t>(rows));
  Problem p{shape,
            heads,
            random.normals(heads * shape.head_dim),
            random.normals(rows * shape.head_dim),
            random.normals(heads),
            {},
            {},
            {}};
  const std::int64_t d = shape.head_dim, bytes = shape.packed_bytes();
  p.packed.resize(static_cast<std::size_t>(rows * bytes));
  for (std::int64_t i = 0; i < rows; ++i) {
    std::byte* row = p.packed.data() + i * bytes;
    float* kv = p.kv.data() + i * d;
    set.encode_row(shape, kv, row);
    set.decode_row(shape, row, kv);
    const bool masked = i % 7 == 3;
    p.packed_rows.push_back(masked ? nullptr : row);
    p.float_rows.push_back(masked ? nullptr : reinterpret_cast<const std::byte*>(kv));
  }
  return p;
}

std::vector<float> run(const KernelTable& set, const Problem& p, bool packed, std::int64_t segment) {
  const auto& rows = packed ? p.packed_rows : p.float_rows;
  const auto n = static_cast<std::int64_t>(rows.size());
  const std::int64_t d = p.shape.head_dim, count = std::max<std::int64_t>(1, (n + segment - 1) / segment);
  std::vector<float> max(static_cast<std::size_t>(count * p.heads)), sum(max),
      acc(static_cast<std::size_t>(count * p.heads * d));
  AlignedBytes scratch(set.attend_scratch_bytes(p.shape, p.heads));
  for (std::int64_t i = 0; i < count; ++i) {
    AttendArgs args{p.shape,
                    p.heads,
                    p.q.data(),
                    rows.data() + i * segment,
                    std::min(segment, n - i * segment),
                    1.0f / std::sqrt(static_cast<float>(d)),
                    max.data() + i * p.heads,
                    sum.data() + i * p.heads,
                    acc.data() + i * p.heads * d,
                    scratch.data()};
    (packed ? set.attend_packed : set.attend_f32)(args);
  }
  std::vector<float> out(static_cast<std::size_t>(p.heads * d));
  set.attend_merge(max.data(), sum.data(), acc.data(), static_cast<int>(count), p.heads, static_cast<int>(d),
                   p.sinks.data(), out.data());
  return out;
}

std::vector<double> in_double(const Problem& p) {
  const std::int64_t d = p.shape.head_dim, n = static_cast<std::int64_t>(p.float_rows.size());
  std::vector<double> out(static_cast<std::size_t>(p.heads * d));
  for (int h = 0; h < p.heads; ++h) {
    std::vector<double> s(static_cast<std::size_t>(n), -INFINITY);
    double top = static_cast<double>(p.sinks[static_cast<std::size_t>(h)]);
    for (std::int64_t i = 0; i < n; ++i) {
      if (p.float_rows[static_cast<std::size_t>(i)] == nullptr) continue;
      double dot = 0;
      for (std::int64_t k = 0; k < d; ++k)
        dot += static_cast<double>(p.q[static_cast<std::size_t>(h * d + k)]) *
               static_cast<double>(p.kv[static_cast<std::size_t>(i * d + k)]);
      s[static_cast<std::size_t>(i)] = dot / std::sqrt(static_cast<double>(d));
      top = std::max(top, s[static_cast<std::size_t>(i)]);
    }
    double total = std::exp(static_cast<double>(p.sinks[static_cast<std::size_t>(h)]) - top);
    for (double v : s) total += std::exp(v - top);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k < d; ++k)
        out[static_cast<std::size_t>(h * d + k)] += std::exp(s[static_cast<std::size_t>(i)] - top) / total *
                                                    static_cast<double>(p.kv[static_cast<std::size_t>(i * d + k)]);
  }
  return out;
}

double relative_error(const std::vector<float>& got, const std::vector<double>& want) {
  double num = 0, den = 1e-300;
  for (std::size_t i = 0; i < got.size(); ++i) {
    num += (static_cast<double>(got[i]) - want[i]) * (static_cast<double>(got[i]) - want[i]);
    den += want[i] * want[i];
  }
  return std::sqrt(num / den);
}

// float rows within float32 rounding; packed rows within bfloat16's 2^-9 for q and p each (errors of single terms
// average out).
TEST_P(Attention, AgainstDouble) {
  for (RowShape shape : {RowShape{512, 64}, RowShape{96, 32}, RowShape{50, 2}})
    for (std::int64_t rows : {1, 64, 65, 200}) {
      const Problem p = make(set(), shape, 9, rows);
      const auto want = in_double(p);
      EXPECT_LT(relative_error(run(set(), p, false, 1024), want), 2e-6) << shape.head_dim << " rows " << rows;
      EXPECT_LT(relative_error(run(set(), p, true, 1024), want), 2 * 0x1p-9) << shape.head_dim << " rows " << rows;
    }
}

// Partial results merge to the same answer within rounding: threads may split a long list at segments.
TEST_P(Attention, SegmentsMerge) {
  const Problem p = make(set(), {128, 64}, 4, 500);
  const auto want = in_double(p);
  for (std::int64_t segment : {64, 192, 500}) EXPECT_LT(relative_error(run(set(), p, false, segment), want), 2e-6);
}

TEST_P(Attention, NothingVisibleGivesZeroAndASinkAlone) {
  Problem p = make(set(), {64, 0}, 3, 70);
  std::fill(p.float_rows.begin(), p.float_rows.end(), nullptr);
  std::fill(p.packed_rows.begin(), p.packed_rows.end(), nullptr);
  for (bool packed : {false, true})
    for (float v : run(set(), p, packed, 1024)) EXPECT_EQ(v, 0.0f);
}

// A sink far above every score takes all the weight; far below, none.
TEST_P(Attention, SinkOnlyWeighsTheDenominator) {
  Problem p = make(set(), {64, 0}, 2, 30);
  p.sinks = {200.0f, -200.0f};
  const auto out = run(set(), p, false, 1024);
  const auto want = in_double(p);
  for (std::size_t k = 0; k < 64; ++k) {
    EXPECT_NEAR(out[k], 0.0f, 1e-30f);
    EXPECT_NEAR(out[64 + k], want[64 + k], 1e-5);
  }
}

TEST_P(Attention, IndexerAgainstDouble) {
  Random random(5);
  const int heads = 64, dim = 128;
  const std::int64_t tiles = 3;
  const auto q = random.normals(heads * dim), weight = random.normals(heads), raw = random.normals(tiles * 16 * dim);
  std::vector<std::byte> keys(static_cast<std::size_t>(tiles * 4 * kFp4TileBytes));
  std::vector<float> decoded(raw.size()), rounded(q);
  for (std::int64_t k = 0; k < tiles * 16; ++k) {
    std::byte* tile = keys.data() + k / 16 * (4 * kFp4TileBytes);
    set().encode_index_key(raw.data() + k * dim, dim, tile, static_cast<int>(k % 16));
    set().decode_index_key(tile, static_cast<int>(k % 16), dim, decoded.data() + k * dim);
  }
  set().round_fp4(rounded.data(), heads * dim, 32);
  std::vector<std::int8_t> codes(q.size());
  std::vector<float> scales(q.size() / 32), packed(static_cast<std::size_t>(tiles * 16)), exact(packed);
  set().encode_index_query(q.data(), heads, dim, codes.data(), scales.data());
  const std::byte* page = keys.data();
  const auto* decoded_page = reinterpret_cast<const std::byte*>(decoded.data());
  set().index_scores_packed(
      {heads, dim, codes.data(), scales.data(), weight.data(), &page, tiles, tiles, packed.data(), nullptr});
  set().index_scores_f32({heads, dim, nullptr, nullptr, weight.data(), &decoded_page, tiles * 16, tiles * 16,
                          exact.data(), rounded.data()});
  for (std::int64_t k = 0; k < tiles * 16; ++k) {
    double score = 0, magnitude = 0;
    for (int h = 0; h < heads; ++h) {
      double dot = 0;
      for (int i = 0; i < dim; ++i)
        dot += static_cast<double>(rounded[static_cast<std::size_t>(h * dim + i)]) *
               static_cast<double>(decoded[static_cast<std::size_t>(k * dim + i)]);
      score += static_cast<double>(weight[static_cast<std::size_t>(h)]) * std::max(dot, 0.0);
      magnitude += std::abs(static_cast<double>(weight[static_cast<std::size_t>(h)])) * std::abs(dot);
    }
    // The packed dot products are exact; only the sum over 64 heads rounds.
    EXPECT_NEAR(static_cast<double>(packed[static_cast<std::size_t>(k)]), score, 65 * 0x1p-24 * magnitude);
    EXPECT_NEAR(static_cast<double>(exact[static_cast<std::size_t>(k)]), score, (65 + 12) * 0x1p-24 * magnitude * 4);
  }
}

// The k largest, lower index first among equals, indices ascending; on shapes that defeat the sampled threshold too.
TEST_P(Attention, TopKAgainstSorting) {
  Random random(9);
  for (std::int64_t n : {1, 15, 512, 16384, 50000})
    for (int shape = 0; shape < 8; ++shape) {
      std::vector<float> s(static_cast<std::size_t>(n));
      for (std::int64_t i = 0; i < n; ++i)
        s[static_cast<std::size_t>(i)] = shape == 0   ? random.normal()
                                         : shape == 1 ? static_cast<float>(i)
                                         : shape == 2 ? 2.5f
                                         : shape == 3 ? static_cast<float>(random.range(-2, 2))
                                         : shape == 5 ? -static_cast<float>(i)
                                         : shape == 6 ? (i % 700 == 3 ? random.normal() + 9 : 2.5f)  // few above many
                                         : shape == 7
                                             ? (i % 5 == 0 ? 1.0f : -1.0f)
                                             : (i % (n / 4096 + 1) == 0 ? 0.0f : 1.0f);  // what a stride sees is low
      for (std::int64_t k : {std::int64_t{1}, std::min<std::int64_t>(n, 512), n}) {
        std::vector<std::int32_t> order(static_cast<std::size_t>(n)), got(static_cast<std::size_t>(k)), scratch(order);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
          return s[static_cast<std::size_t>(a)] > s[static_cast<std::size_t>(b)];
        });
        order.resize(static_cast<std::size_t>(k));
        std::sort(order.begin(), order.end());
        set().top_k(s.data(), n, k, got.data(), scratch.data());
        ASSERT_EQ(got, order) << "n " << n << " k " << k << " shape " << shape;
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Sets, Attention, ::testing::Values(0, 1, 2));

}  // namespace
}  // namespace hadal::testing
