#include "model/reference_math.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/span.h"
#include "numbers/block_quant.h"

namespace hadal::reference {

Matrix make_matrix(std::span<const double> row_major, std::int64_t rows, std::int64_t cols, bool quantised) {
  constexpr std::int64_t kTile = Matrix::kTile;
  Matrix m{rows, cols, Vector(static_cast<std::size_t>(ceil_div(rows, kTile) * kTile * cols)), quantised};
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t k = 0; k < cols; ++k)
      m.tiles[static_cast<std::size_t>((r / kTile * cols + k) * kTile + r % kTile)] =
          row_major[static_cast<std::size_t>(r * cols + k)];
  return m;
}

Vector multiply(const Matrix& w, std::span<const double> x) {
  constexpr std::int64_t kTile = Matrix::kTile;
  Vector y(static_cast<std::size_t>(w.rows));
  const double* column = w.tiles.data();
  for (std::int64_t row = 0; row < w.rows; row += kTile) {
    double sum[kTile] = {};
    for (std::int64_t k = 0; k < w.cols; ++k, column += kTile)
      for (std::int64_t r = 0; r < kTile; ++r) sum[r] += column[r] * x[static_cast<std::size_t>(k)];
    std::copy_n(sum, std::min(kTile, w.rows - row), y.begin() + row);
  }
  return y;
}

Vector linear(const Setting& setting, const Matrix& w, std::span<const double> x) {
  if (!setting.round_inputs || !w.quantised) return multiply(w, x);
  Vector rounded(x.begin(), x.end());
  round_blocks_fp8(std::span<double>(rounded), 128);
  return multiply(w, rounded);
}

double dot(std::span<const double> a, std::span<const double> b) {
  double sum[4] = {};  // four chains, so that an add need not wait for the one before it
  std::size_t i = 0;
  for (; i + 4 <= a.size(); i += 4)
    for (std::size_t j = 0; j < 4; ++j) sum[j] += a[i + j] * b[i + j];
  for (; i < a.size(); ++i) sum[0] += a[i] * b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

double silu(double v) { return v * sigmoid(v); }

double sqrt_softplus(double v) { return std::sqrt(std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v)))); }

void rms_norm(const Setting& setting, std::span<double> x) {
  const double mean = dot(x, x) / static_cast<double>(x.size());
  const double root = std::sqrt(mean + setting.config.rms_norm_eps);
  for (double& v : x) v /= root;
}

void rms_norm(const Setting& setting, std::span<double> x, const Vector& w) {
  rms_norm(setting, x);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= w[i];
}

void rotate(std::span<double> x, Position t, const std::vector<float>& frequencies, Turn turn) {
  std::span<double> pairs = x.last(2 * frequencies.size());
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    // The product is float32, as in the official program: at a million tokens that is part of the model's trajectory.
    const auto theta = static_cast<double>(static_cast<float>(t) * frequencies[i]);
    const double cos = std::cos(theta), sin = turn == Turn::kForward ? std::sin(theta) : -std::sin(theta);
    const double a = pairs[2 * i], b = pairs[2 * i + 1];
    pairs[2 * i] = a * cos - b * sin;
    pairs[2 * i + 1] = a * sin + b * cos;
  }
}

void hadamard(std::span<double> x) {
  const std::size_t n = x.size();
  for (std::size_t half = 1; half < n; half *= 2) {
    for (std::size_t begin = 0; begin < n; begin += 2 * half) {
      for (std::size_t i = begin; i < begin + half; ++i) {
        const double a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  const double scale = 1 / std::sqrt(static_cast<double>(n));
  for (double& v : x) v *= scale;
}

std::vector<std::int64_t> largest(std::span<const double> values, std::int64_t k) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  if (k >= static_cast<std::int64_t>(order.size())) return order;
  // NaN as -infinity keeps the comparison a strict weak order, whatever a damaged checkpoint holds.
  auto key = [&](std::int64_t i) {
    const double v = values[static_cast<std::size_t>(i)];
    return std::isnan(v) ? -std::numeric_limits<double>::infinity() : v;
  };
  std::nth_element(order.begin(), order.begin() + k, order.end(),
                   [&](std::int64_t a, std::int64_t b) { return key(a) != key(b) ? key(a) > key(b) : a < b; });
  order.resize(static_cast<std::size_t>(k));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace hadal::reference
