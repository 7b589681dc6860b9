// Operators against the vectors in tests/golden/model/ops.safetensors, on every set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "kernels/compare_sets.h"
#include "machine/thread_pool.h"
#include "support/golden.h"

namespace hadal::testing {
namespace {

using test::tensor;

// Every element within 1e-5 of the largest wanted magnitude of its row of n.
void expect_close(const std::vector<float>& got, const std::vector<float>& want, std::size_t n, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t row = 0; row < got.size(); row += n) {
    float top = 1e-30f;
    for (std::size_t i = row; i < row + n; ++i) top = std::max(top, std::abs(want[i]));
    for (std::size_t i = row; i < row + n; ++i) ASSERT_NEAR(got[i], want[i], 1e-5f * top) << what << " at " << i;
  }
}

class GoldenOps : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (GetParam() >= available_kernels().count) GTEST_SKIP() << "not on this machine";
    auto file = SafetensorsFile::open(test::golden_path("model/ops.safetensors"));
    ASSERT_TRUE(file) << file.error().what;
    file_ = std::make_unique<SafetensorsFile>(std::move(*file));
  }
  const KernelTable& set() const { return *available_kernels().list[GetParam()]; }
  std::vector<float> floats(const std::string& name) const { return tensor<float>(*file_, name); }
  std::unique_ptr<SafetensorsFile> file_;
  const FlushDenormals flush_;
};

TEST_P(GoldenOps, BlockRoundingIsExact) {
  auto round = [&](auto op, const char* x, const char* y, std::int64_t width, std::int64_t block) {
    auto v = floats(x);
    for (std::size_t i = 0; i < v.size(); i += static_cast<std::size_t>(width)) op(v.data() + i, width, block);
    EXPECT_EQ(v, floats(y));  // by value: the vectors hold +0 where a negative number rounds to zero
  };
  round(set().round_fp8, "fp8.x", "fp8.y64", 256, 64);
  round(set().round_fp8, "fp8.x", "fp8.y128", 256, 128);
  round(set().round_fp4, "fp4.x", "fp4.y", 128, 32);
}

// The cache's own encoders reach the same values and the stored scales.
TEST_P(GoldenOps, RowsAndIndexKeysEncodeTheSame) {
  const auto x = floats("fp8.x"), y = floats("fp8.y64"), scale = floats("fp8.scale64");
  const RowShape shape{256, 0};
  std::vector<std::byte> row(static_cast<std::size_t>(shape.packed_bytes()));
  std::vector<float> back(256);
  for (std::size_t i = 0; i < 10; ++i) {
    set().encode_row(shape, x.data() + 256 * i, row.data());
    set().decode_row(shape, row.data(), back.data());
    EXPECT_EQ(back, std::vector<float>(y.begin() + static_cast<std::ptrdiff_t>(256 * i),
                                       y.begin() + static_cast<std::ptrdiff_t>(256 * i + 256)));
    for (std::size_t b = 0; b < 4; ++b)
      EXPECT_EQ(std::ldexp(1.0f, static_cast<int>(row[256 + b]) - 127), scale[4 * i + b]);
  }
  const auto k = floats("fp4.x"), ky = floats("fp4.y"), kscale = floats("fp4.scale");
  std::vector<std::byte> tile(4 * kFp4TileBytes);
  std::vector<std::int8_t> codes(128);
  for (std::size_t i = 0; i < 8; ++i) {
    set().encode_index_key(k.data() + 128 * i, 128, tile.data(), static_cast<int>(2 * i));
    back.resize(128);
    set().decode_index_key(tile.data(), static_cast<int>(2 * i), 128, back.data());
    EXPECT_EQ(back, std::vector<float>(ky.begin() + static_cast<std::ptrdiff_t>(128 * i),
                                       ky.begin() + static_cast<std::ptrdiff_t>(128 * i + 128)));
    float scales[4];
    set().encode_index_query(k.data() + 128 * i, 1, 128, codes.data(), scales);
    for (std::size_t j = 0; j < 128; ++j) EXPECT_EQ(codes[j] * scales[j / 32], ky[128 * i + j]);
    for (std::size_t b = 0; b < 4; ++b)
      if (kscale[4 * i + b] >= 0x1p-125f) {  // half of the smallest scale is a denormal, flushed
        EXPECT_EQ(scales[b] * 2, kscale[4 * i + b]);
      }
  }
}

TEST_P(GoldenOps, Hadamard) {
  for (std::size_t n : {64u, 128u}) {
    auto v = floats("hadamard.x" + std::to_string(n));
    for (std::size_t i = 0; i < v.size(); i += n) set().hadamard(v.data() + i, static_cast<std::int64_t>(n));
    expect_close(v, floats("hadamard.y" + std::to_string(n)), n, "hadamard");
  }
}

// The last 64 of 96 channels rotate; angles are float32 products, as the release forms them.
TEST_P(GoldenOps, Rotation) {
  const auto pos = tensor<std::int64_t>(*file_, "rope.pos");
  for (const char* table : {"plain", "compressed"})
    for (bool inverse : {false, true}) {
      const auto f = floats(std::string("rope.inv_freq_") + table);
      auto v = floats("rope.x");
      for (std::size_t t = 0; t < pos.size(); ++t) {
        float cos[32], sin[32];
        for (std::size_t i = 0; i < 32; ++i) {
          const double angle = static_cast<double>(static_cast<float>(pos[t]) * f[i]);
          cos[i] = static_cast<float>(std::cos(angle));
          sin[i] = static_cast<float>(inverse ? -std::sin(angle) : std::sin(angle));
        }
        for (std::size_t h = 0; h < 2; ++h) set().rotate(v.data() + (t * 2 + h) * 96 + 32, cos, sin, 32);
      }
      expect_close(v, floats(std::string("rope.") + table + (inverse ? "_inverse" : "_forward")), 96, "rotation");
    }
}

TEST_P(GoldenOps, HyperConnection) {
  const auto fn = floats("hc.fn"), base = floats("hc.base"), scale = floats("hc.scale"), y = floats("hc.sub_out");
  auto streams = floats("hc.streams");
  const int n = 4;
  const std::int64_t d = 96;
  std::vector<float> h, post, comb;
  for (std::size_t t = 0; t < 6; ++t) {
    float* x = streams.data() + t * 4 * 96;
    const float rms = set().rms_scale(x, n * d, 1e-6f);
    std::vector<float> mix(24), out(96);
    for (std::size_t r = 0; r < 24; ++r) {
      double sum = 0;
      for (std::size_t k = 0; k < 384; ++k) sum += static_cast<double>(fn[r * 384 + k]) * static_cast<double>(x[k]);
      mix[r] = static_cast<float>(sum) * rms;
    }
    float pre[4], c[4], b[16];
    set().hc_coefficients(mix.data(), base.data(), scale.data(), n, 20, 1e-6f, pre, c, b);
    set().hc_pre(x, pre, n, d, out.data());
    set().hc_post(y.data() + t * 96, c, b, n, d, x);
    h.insert(h.end(), out.begin(), out.end());
    post.insert(post.end(), c, c + 4);
    comb.insert(comb.end(), b, b + 16);
  }
  expect_close(h, floats("hc.h"), 96, "hc.h");
  expect_close(post, floats("hc.post"), 4, "hc.post");
  expect_close(comb, floats("hc.comb"), 16, "hc.comb");
  expect_close(streams, floats("hc.new_streams"), 96, "hc.new_streams");
}

TEST_P(GoldenOps, SinkAttention) {
  const auto q = floats("attn.q"), kv = floats("attn.kv"), sink = floats("attn.sink");
  const auto idx = tensor<std::int32_t>(*file_, "attn.idx");
  const RowShape shape{64, 0};
  AlignedBytes scratch(set().attend_scratch_bytes(shape, 4));
  std::vector<float> got;
  for (std::size_t t = 0; t < 3; ++t) {
    std::vector<const std::byte*> rows;
    for (std::size_t i = 0; i < 9; ++i) {
      const std::int32_t r = idx[t * 9 + i];
      rows.push_back(r < 0 ? nullptr : reinterpret_cast<const std::byte*>(kv.data() + r * 64));
    }
    std::vector<float> max(4), sum(4), acc(256), out(256);
    set().attend_f32(
        {shape, 4, q.data() + t * 256, rows.data(), 9, 0.125f, max.data(), sum.data(), acc.data(), scratch.data()});
    set().attend_merge(max.data(), sum.data(), acc.data(), 1, 4, 64, sink.data(), out.data());
    got.insert(got.end(), out.begin(), out.end());
  }
  expect_close(got, floats("attn.out"), 64, "attention");
}

TEST_P(GoldenOps, RouterScores) {
  const auto logits = floats("gate.logits"), bias = floats("gate.bias"), want = floats("gate.weights");
  const auto idx = tensor<std::int64_t>(*file_, "gate.idx");
  for (std::size_t t = 0; t < 7; ++t) {
    std::vector<float> s(16), biased(16);
    set().sqrt_softplus(logits.data() + t * 16, 16, s.data());
    for (std::size_t e = 0; e < 16; ++e) biased[e] = s[e] + bias[e];
    std::int32_t best[4], scratch[16];
    set().top_k(biased.data(), 16, 4, best, scratch);
    std::vector<std::int64_t> sorted(idx.begin() + static_cast<std::ptrdiff_t>(t * 4),
                                     idx.begin() + static_cast<std::ptrdiff_t>(t * 4 + 4));
    float total = 0;
    for (std::int64_t e : sorted) total += s[static_cast<std::size_t>(e)];
    // The stored weights carry the scaling factor of their configuration: compare ratios.
    for (std::size_t i = 0; i < 4; ++i) {
      const float share = s[static_cast<std::size_t>(sorted[i])] / total;
      const float sum = want[t * 4] + want[t * 4 + 1] + want[t * 4 + 2] + want[t * 4 + 3];
      EXPECT_NEAR(share, want[t * 4 + i] / sum, 1e-5f);
    }
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(best[i], sorted[i]) << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, GoldenOps, ::testing::Values(0, 1, 2));

}  // namespace
}  // namespace hadal::testing
