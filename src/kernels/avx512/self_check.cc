#include "kernels/self_check.h"

#include <immintrin.h>

#include <cstdint>

#include "machine/thread_pool.h"

namespace hadal {

bool bf16_dot_is_two_fmas() {
  const FlushDenormals flush;
  std::uint32_t state = 0x9E3779B9u;
  auto next = [&] { return state = state * 1664525u + 1013904223u; };
  const __m512i high = _mm512_set1_epi32(INT32_C(-65536));
  for (int round = 0; round < 500; ++round) {
    alignas(64) std::uint32_t a[16], b[16], c[16];
    for (int i = 0; i < 16; ++i) {
      // All signs and mantissas; exponents near one another so that every bit of the sums matters, and now and then
      // any.
      const bool any = next() >> 28 == 0;
      auto word = [&](std::uint32_t spread) {
        const std::uint32_t v = (next() >> 8) ^ (next() << 8);
        return any ? v : (v & 0x807fffffu) | ((127u - spread / 2 + v % spread) << 23);
      };
      a[i] = (word(12) & 0xffff0000u) | word(12) >> 16;
      b[i] = (word(12) & 0xffff0000u) | word(12) >> 16;
      c[i] = word(24);
      if ((c[i] >> 23 & 255) == 255) c[i] = 0;
    }
    const __m512i x = _mm512_load_si512(a), y = _mm512_load_si512(b);
    const __m512 acc = _mm512_load_ps(reinterpret_cast<const float*>(c));
    const __m512 got = _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(y));
    __m512 want = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(x, high)),
                                  _mm512_castsi512_ps(_mm512_and_si512(y, high)), acc);
    want = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)), _mm512_castsi512_ps(_mm512_slli_epi32(y, 16)),
                           want);
    const __mmask16 number = _mm512_cmp_ps_mask(want, want, _CMP_ORD_Q) | _mm512_cmp_ps_mask(got, got, _CMP_ORD_Q);
    if (_mm512_mask_cmpneq_epi32_mask(number, _mm512_castps_si512(got), _mm512_castps_si512(want)) != 0) return false;
  }
  return true;
}

}  // namespace hadal
