// Sixteen lanes as one 512-bit register; scalar/lanes.h says what each operation means.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace hadal {
namespace {

struct Lanes {
  using F = __m512;
  using I = __m512i;
  using M = __mmask16;

  static constexpr int kHeadTile = 8;  // accumulators of an attention tile that registers hold

  static F set(float x) { return _mm512_set1_ps(x); }
  static F zero() { return _mm512_setzero_ps(); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load(const float* p, std::int64_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static void store(float* p, F x, std::int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

  static F add(F x, F y) { return _mm512_add_ps(x, y); }
  static F sub(F x, F y) { return _mm512_sub_ps(x, y); }
  static F mul(F x, F y) { return _mm512_mul_ps(x, y); }
  static F div(F x, F y) { return _mm512_div_ps(x, y); }
  static F fma(F x, F y, F z) { return _mm512_fmadd_ps(x, y, z); }
  static F max(F x, F y) { return _mm512_max_ps(x, y); }
  static F min(F x, F y) { return _mm512_min_ps(x, y); }
  static F sqrt(F x) { return _mm512_sqrt_ps(x); }

  static M less(F x, F y) { return _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ); }
  static M less_equal(F x, F y) { return _mm512_cmp_ps_mask(x, y, _CMP_LE_OQ); }
  static M equal(I x, I y) { return _mm512_cmpeq_epi32_mask(x, y); }
  static M greater(I x, I y) { return _mm512_cmpgt_epi32_mask(x, y); }
  static F select(M m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }
  static I select(M m, I yes, I no) { return _mm512_mask_blend_epi32(m, no, yes); }

  static I iset(std::int32_t x) { return _mm512_set1_epi32(x); }
  static I load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static void store(std::int32_t* p, I x) { _mm512_storeu_si512(p, x); }
  static I load_u8(const std::uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_u16(const std::uint16_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_u8(std::uint8_t* p, I x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  }
  static void store_u16(std::uint16_t* p, I x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
  }
  static I add(I x, I y) { return _mm512_add_epi32(x, y); }
  static I sub(I x, I y) { return _mm512_sub_epi32(x, y); }
  static I bit_and(I x, I y) { return _mm512_and_si512(x, y); }
  static I bit_or(I x, I y) { return _mm512_or_si512(x, y); }
  template <int N>
  static I shl(I x) {
    return _mm512_slli_epi32(x, N);
  }
  template <int N>
  static I shr(I x) {
    return _mm512_srli_epi32(x, N);
  }

  static I bits(F x) { return _mm512_castps_si512(x); }
  static F floats(I x) { return _mm512_castsi512_ps(x); }
  static F from_int(I x) { return _mm512_cvtepi32_ps(x); }
  static I to_int(F x) { return _mm512_cvtps_epi32(x); }

  static float sum(F x) {
    __m256 v = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
  }
  static float max_of(F x) {
    __m256 v = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
  }
  static float first(F x) { return _mm512_cvtss_f32(x); }

  // out[8 i + t] = in[t * stride + i]: eight words of eight rows.
  static void transpose8(const std::uint32_t* in, std::int64_t stride, std::uint32_t* out) {
    __m256 r[8], s[8];
    for (int t = 0; t < 8; ++t) r[t] = _mm256_loadu_ps(reinterpret_cast<const float*>(in + t * stride));
    for (int t = 0; t < 8; t += 2) {
      s[t] = _mm256_unpacklo_ps(r[t], r[t + 1]);
      s[t + 1] = _mm256_unpackhi_ps(r[t], r[t + 1]);
    }
    for (int t = 0; t < 8; t += 4) {
      r[t] = _mm256_shuffle_ps(s[t], s[t + 2], 0x44);
      r[t + 1] = _mm256_shuffle_ps(s[t], s[t + 2], 0xEE);
      r[t + 2] = _mm256_shuffle_ps(s[t + 1], s[t + 3], 0x44);
      r[t + 3] = _mm256_shuffle_ps(s[t + 1], s[t + 3], 0xEE);
    }
    auto* to = reinterpret_cast<float*>(out);
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_ps(to + 8 * i, _mm256_permute2f128_ps(r[i], r[4 + i], 0x20));
      _mm256_storeu_ps(to + 8 * (4 + i), _mm256_permute2f128_ps(r[i], r[4 + i], 0x31));
    }
  }

 private:
  static M first_lanes(std::int64_t n) { return static_cast<M>(n >= 16 ? 0xffff : (1 << n) - 1); }
};

}  // namespace
}  // namespace hadal
