#include "kernels/generic/top_k.h"

#include "kernels/avx512/lanes.h"
#include "kernels/families.h"

namespace hadal {
namespace {

// Compresses to a register first: vpcompressd to memory is microcoded on Zen 4.
std::int64_t collect(const float* scores, std::int64_t n, std::uint32_t key, std::int32_t* out, std::int64_t limit) {
  const __m512i threshold = _mm512_set1_epi32(static_cast<int>(key));
  const __m512i top = _mm512_set1_epi32(INT32_MIN), step = _mm512_set1_epi32(16);
  __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  std::int64_t m = 0, i = 0;
  for (; i + 16 <= n; i += 16, index = _mm512_add_epi32(index, step)) {
    __m512i u = _mm512_loadu_si512(scores + i);
    __m512i ordered = _mm512_xor_si512(u, _mm512_or_si512(_mm512_srai_epi32(u, 31), top));
    __mmask16 hit = _mm512_cmpge_epu32_mask(ordered, threshold);
    if (hit == 0) continue;
    if (m + 16 > limit) return -1;
    _mm512_storeu_si512(out + m, _mm512_maskz_compress_epi32(hit, index));
    m += __builtin_popcount(hit);
  }
  for (; i < n; ++i)
    if (generic::order_key<Lanes>(scores[i]) >= key) {
      if (m == limit) return -1;
      out[m++] = static_cast<std::int32_t>(i);
    }
  return m;
}

void top_k(const float* scores, std::int64_t n, std::int64_t k, std::int32_t* out, std::int32_t* scratch) {
  generic::top_k<Lanes>(scores, n, k, out, scratch, collect);
}

}  // namespace

void avx512::fill_top_k(KernelTable& table) { table.top_k = top_k; }

}  // namespace hadal
