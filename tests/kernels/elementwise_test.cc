#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/compare_sets.h"
#include "machine/thread_pool.h"

namespace hadal::testing {
namespace {

// Other sets give the same bits (sets_test.cc), so accuracy is a matter of the definition alone.
const KernelTable& scalar() { return *available_kernels().list[0]; }

// Arguments over the range where results are normal numbers.
std::vector<float> arguments() {
  std::vector<float> x;
  for (float v = -86; v < 87; v += 0.0137f) x.push_back(v);
  for (float v : {0.0f, -0.0f, 1e-20f, -1e-20f, 1e-4f, -1e-4f, 88.0f, 1e4f}) x.push_back(v);
  return x;
}

void expect_relative(const std::vector<float>& x, const std::vector<float>& got, double (*f)(double), double bound) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = f(static_cast<double>(x[i]));
    ASSERT_NEAR(static_cast<double>(got[i]), want, bound * std::abs(want)) << "x = " << x[i];
  }
}

TEST(Elementwise, SigmoidWithinFourUlp) {
  const FlushDenormals flush;
  const auto x = arguments();
  std::vector<float> y(x.size());
  scalar().sigmoid(x.data(), static_cast<std::int64_t>(x.size()), y.data());
  expect_relative(x, y, [](double v) { return 1 / (1 + std::exp(-v)); }, 4 * 0x1p-23);
}

TEST(Elementwise, SqrtSoftplusWithinFourUlp) {
  const FlushDenormals flush;
  const auto x = arguments();
  std::vector<float> y(x.size());
  scalar().sqrt_softplus(x.data(), static_cast<std::int64_t>(x.size()), y.data());
  expect_relative(
      x, y, [](double v) { return std::sqrt(std::log1p(std::exp(-std::abs(v))) + std::max(v, 0.0)); }, 4 * 0x1p-23);
}

TEST(Elementwise, FarArgumentsSaturate) {
  const FlushDenormals flush;
  const std::vector<float> x = {-1e30f, -INFINITY, -200, 200, 1e30f, INFINITY, NAN};
  std::vector<float> y(x.size());
  scalar().sigmoid(x.data(), 7, y.data());
  for (int i : {0, 1, 2}) EXPECT_EQ(y[static_cast<std::size_t>(i)], 0.0f);
  for (int i : {3, 4, 5}) EXPECT_EQ(y[static_cast<std::size_t>(i)], 1.0f);
  EXPECT_TRUE(std::isnan(y[6]));
  scalar().sqrt_softplus(x.data(), 7, y.data());
  EXPECT_EQ(y[0], 0.0f);
  EXPECT_EQ(y[3], std::sqrt(200.0f));
  EXPECT_TRUE(std::isnan(y[6]));
}

TEST(Elementwise, SwigluClampsGateAboveAndUpOnBothSides) {
  const FlushDenormals flush;
  const std::vector<float> gate = {-20, -1, 0.5f, 20}, up = {-9, 0.25f, 9, 9};
  std::vector<float> y(4);
  for (float limit : {0.0f, 1.25f}) {
    scalar().swiglu(gate.data(), up.data(), limit, 0.75f, 4, y.data());
    for (std::size_t i = 0; i < 4; ++i) {
      double g = static_cast<double>(gate[i]), u = static_cast<double>(up[i]);
      if (limit > 0) g = std::min(g, 1.25), u = std::clamp(u, -1.25, 1.25);
      const double want = 0.75 * g / (1 + std::exp(-g)) * u;
      EXPECT_NEAR(static_cast<double>(y[i]), want, 1e-6 * std::abs(want)) << i << " limit " << limit;
    }
  }
}

TEST(Elementwise, RmsNorm) {
  const FlushDenormals flush;
  Random random(2);
  for (std::int64_t n : {1, 7, 16, 100, 4096}) {
    const auto x = random.normals(n), w = random.normals(n);
    std::vector<float> y(x);
    scalar().rms_norm(y.data(), w.data(), n, 1e-6f, y.data());  // in place
    double square = 0;
    for (float v : x) square += static_cast<double>(v) * static_cast<double>(v);
    const double scale = 1 / std::sqrt(square / static_cast<double>(n) + 1e-6);
    for (std::size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(static_cast<double>(y[i]), static_cast<double>(x[i]) * scale * static_cast<double>(w[i]),
                  1e-5 * std::abs(static_cast<double>(w[i])));
  }
}

TEST(Elementwise, PoolIsASoftmaxForEachChannel) {
  const FlushDenormals flush;
  Random random(4);
  const int members = 5;
  const std::int64_t channels = 21;
  std::vector<std::vector<float>> v, g;
  std::vector<const float*> vp, gp;
  for (int i = 0; i < members; ++i) v.push_back(random.normals(channels)), g.push_back(random.normals(channels));
  for (std::size_t i = 0; i < static_cast<std::size_t>(members); ++i)
    vp.push_back(v[i].data()), gp.push_back(g[i].data());
  std::vector<float> out(static_cast<std::size_t>(channels));
  scalar().pool(vp.data(), gp.data(), members, channels, out.data());
  for (std::size_t c = 0; c < out.size(); ++c) {
    double total = 0, sum = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(members); ++i) {
      const double e = std::exp(static_cast<double>(g[i][c]));
      total += e, sum += e * static_cast<double>(v[i][c]);
    }
    EXPECT_NEAR(static_cast<double>(out[c]), sum / total, 1e-5);
  }
}

}  // namespace
}  // namespace hadal::testing
