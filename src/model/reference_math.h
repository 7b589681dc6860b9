// Plain double-precision arithmetic of the definition (reference_model.h). Every sum has a fixed order and belongs to
// one token, so a result does not depend on chunks or threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "weights/config.h"

namespace hadal::reference {

using Vector = std::vector<double>;

// W [rows, cols], dequantised, in tiles of eight rows: eight outputs are summed side by side, each over ascending
// columns.
struct Matrix {
  static constexpr std::int64_t kTile = 8;  // enough independent sums to hide the latency of an add
  std::int64_t rows = 0, cols = 0;
  Vector tiles;            // [ceil(rows/8)][cols][8], rows beyond the last are zero
  bool quantised = false;  // stored as FP8 or FP4: in regime full its input is rounded to FP8
};
Matrix make_matrix(std::span<const double> row_major, std::int64_t rows, std::int64_t cols, bool quantised);

// What all mechanisms share: the model's shape, and which roundings of spec 7 apply.
struct Setting {
  ModelConfig config;
  bool round_cache = true;    // regimes kvq and full
  bool round_inputs = false;  // regime full
  std::vector<float> plain_frequencies,
      compressed_frequencies;  // [rd/2], float32 as in the official program (spec 4.2)
};

Vector multiply(const Matrix& w, std::span<const double> x);  // W x

// W x as the regime has it: in full, the input of an FP8 or FP4 matrix is rounded to FP8 in blocks of 128 (spec 7.3).
Vector linear(const Setting& setting, const Matrix& w, std::span<const double> x);

double dot(std::span<const double> a, std::span<const double> b);
double sigmoid(double v);
double silu(double v);           // v * sigmoid(v)
double sqrt_softplus(double v);  // sqrt(ln(1 + e^v)), without overflow

// x / sqrt(mean(x^2) + eps), times w where there is one (spec 2.1).
void rms_norm(const Setting& setting, std::span<double> x);
void rms_norm(const Setting& setting, std::span<double> x, const Vector& w);

// Rotates the last rd channels of x as adjacent pairs to position t, or back (spec 4.2).
enum class Turn { kForward, kBack };
void rotate(std::span<double> x, Position t, const std::vector<float>& frequencies, Turn turn = Turn::kForward);

// Sylvester order, scaled by n^-1/2; n a power of two (spec 5.2).
void hadamard(std::span<double> x);

// Indices of the k largest values, ascending; ties go to the lower index, NaN counts as the smallest value.
std::vector<std::int64_t> largest(std::span<const double> values, std::int64_t k);

}  // namespace hadal::reference
