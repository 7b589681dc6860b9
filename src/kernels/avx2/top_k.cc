#include "kernels/generic/top_k.h"

#include "kernels/avx2/lanes.h"
#include "kernels/families.h"

namespace hadal {
namespace {

std::int64_t collect(const float* scores, std::int64_t n, std::uint32_t key, std::int32_t* out, std::int64_t limit) {
  // Signed order: the key without its top bit flipped, and the least hit is key, so compare with key - 1 (key is never
  // 0 here unless everything hits).
  if (key == 0) return -1;
  const __m256i below = _mm256_set1_epi32(static_cast<int>((key - 1) ^ 0x80000000u));
  const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
  std::int64_t m = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256i u = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scores + i));
    __m256i ordered = _mm256_xor_si256(u, _mm256_and_si256(_mm256_srai_epi32(u, 31), magnitude));
    auto hits = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(ordered, below))));
    if (hits == 0) continue;
    if (m + 8 > limit) return -1;
    for (; hits != 0; hits &= hits - 1) out[m++] = static_cast<std::int32_t>(i + __builtin_ctz(hits));
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

void avx2::fill_top_k(KernelTable& table) { table.top_k = top_k; }

}  // namespace hadal
