// What the product kernels on 256-bit registers share: half a tile is 8 rows, a register.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace hadal {
namespace {

constexpr int kAhead = 4352;  // bytes read ahead of the weight stream, as in avx512/products.cc

inline __m256i load(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p) + kAhead, _MM_HINT_T0); }

// The float32 of the odd and of the even element of bfloat16 pairs.
inline __m256 high_half(__m256i pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(INT32_C(-65536))));
}
inline __m256 low_half(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }

// Writes rows [first, first + 8) of the tile, those that exist.
inline void store_half(__m256 f, std::int64_t rows, std::int64_t first, float* y) {
  const std::int64_t n = rows - first;
  if (n >= 8) {
    _mm256_storeu_ps(y + first, f);
  } else if (n > 0) {
    __m256i m = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    _mm256_maskstore_ps(y + first, m, f);
  }
}

}  // namespace
}  // namespace hadal
