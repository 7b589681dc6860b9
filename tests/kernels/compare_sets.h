// One random case of each kernel family, run by two instruction sets: the results must have the same bits. Used by the
// tests with seeds and by the fuzz target with its bytes. Each function returns "" or the first difference.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace hadal::testing {

// Random numbers of any kind from a seed, or from bytes first and a seed then.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::span<const std::uint8_t> bytes = {}) : state_(seed), bytes_(bytes) {}
  std::uint64_t next();
  std::int64_t range(std::int64_t low, std::int64_t high);  // both inclusive
  float normal();
  // Mostly normal numbers; some zeros of both signs, denormals, tiny, huge (up to 2^90) and exact ties.
  float any();
  std::vector<float> normals(std::int64_t n);
  std::vector<float> anys(std::int64_t n);

 private:
  std::uint64_t state_;
  std::span<const std::uint8_t> bytes_;
};

// A matrix with its storage.
struct RandomMatrix {
  PackedMatrix view;
  std::vector<std::byte> tiles;
  std::vector<float> scales;
  double value(std::int64_t row, std::int64_t col) const;  // in double, by the layout's text in packed_matrix.h
};
// `wild` allows every scale byte and huge values; otherwise magnitudes are like a model's.
RandomMatrix random_matrix(Encoding encoding, std::int64_t rows, std::int64_t cols, Random& random, bool wild);

struct PackedActivations {
  Activations view;
  std::vector<std::byte> data;
};
PackedActivations pack(const KernelTable& set, ActivationKind kind, const std::vector<float>& x, std::int64_t count,
                       std::int64_t cols);

std::string compare_products(const KernelTable& a, const KernelTable& b, Random& random);
std::string compare_elementwise(const KernelTable& a, const KernelTable& b, Random& random);
std::string compare_hyper_connection(const KernelTable& a, const KernelTable& b, Random& random);
std::string compare_rows(const KernelTable& a, const KernelTable& b, Random& random);
std::string compare_attention(const KernelTable& a, const KernelTable& b, Random& random);
std::string compare_indexer(const KernelTable& a, const KernelTable& b, Random& random);
std::string compare_top_k(const KernelTable& a, const KernelTable& b, Random& random);

// "" or a text naming the first element whose bits differ; two NaNs are the same.
std::string difference(const std::string& what, const float* a, const float* b, std::int64_t n);

// 64-byte aligned scratch.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::int64_t n);
  std::byte* data() { return data_; }

 private:
  std::vector<std::byte> storage_;
  std::byte* data_;
};

}  // namespace hadal::testing
