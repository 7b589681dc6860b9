// Sixteen lanes as two 256-bit registers; scalar/lanes.h says what each operation means.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace hadal {
namespace {

struct Lanes {
  struct F {
    __m256 a, b;
  };
  struct I {
    __m256i a, b;
  };
  struct M {
    __m256i a, b;
  };

  static constexpr int kHeadTile = 4;  // accumulators of an attention tile that registers hold

  static F set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static F load(const float* p, std::int64_t n) {
    M m = first_lanes(n);
    return {_mm256_maskload_ps(p, m.a), n > 8 ? _mm256_maskload_ps(p + 8, m.b) : _mm256_setzero_ps()};
  }
  static void store(float* p, F x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static void store(float* p, F x, std::int64_t n) {
    M m = first_lanes(n);
    _mm256_maskstore_ps(p, m.a, x.a);
    if (n > 8) _mm256_maskstore_ps(p + 8, m.b, x.b);
  }

  static F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
  static F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static F sqrt(F x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }

  static M less(F x, F y) {
    return {_mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
            _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
  }
  static M less_equal(F x, F y) {
    return {_mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_LE_OQ)),
            _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_LE_OQ))};
  }
  static M equal(I x, I y) { return {_mm256_cmpeq_epi32(x.a, y.a), _mm256_cmpeq_epi32(x.b, y.b)}; }
  static M greater(I x, I y) { return {_mm256_cmpgt_epi32(x.a, y.a), _mm256_cmpgt_epi32(x.b, y.b)}; }
  static I select(M m, I yes, I no) {
    return {_mm256_blendv_epi8(no.a, yes.a, m.a), _mm256_blendv_epi8(no.b, yes.b, m.b)};
  }
  static F select(M m, F yes, F no) { return floats(select(m, bits(yes), bits(no))); }

  static I iset(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static I load(const std::int32_t* p) { return {load8(p), load8(p + 8)}; }
  static void store(std::int32_t* p, I x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
  }
  static I load_u8(const std::uint8_t* p) {
    __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
  }
  static I load_u16(const std::uint16_t* p) {
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static void store_u16(std::uint16_t* p,
                        I x) {  // low halves; the pack interleaves 128-bit lanes, the permute undoes it
    const __m256i low = _mm256_set1_epi32(0xffff);
    __m256i v = _mm256_packus_epi32(_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(v, 0xd8));
  }
  static void store_u8(std::uint8_t* p, I x) {
    const __m256i low = _mm256_set1_epi32(0xff);
    __m256i v = _mm256_packus_epi32(_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low));
    v = _mm256_permute4x64_epi64(v, 0xd8);
    __m128i r = _mm_packus_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), r);
  }
  static I add(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static I sub(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
  static I bit_and(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
  static I bit_or(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
  template <int N>
  static I shl(I x) {
    return {_mm256_slli_epi32(x.a, N), _mm256_slli_epi32(x.b, N)};
  }
  template <int N>
  static I shr(I x) {
    return {_mm256_srli_epi32(x.a, N), _mm256_srli_epi32(x.b, N)};
  }

  static I bits(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
  static F floats(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
  static F from_int(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static I to_int(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }

  static float sum(F x) {
    __m256 v = _mm256_add_ps(x.a, x.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
  }
  static float max_of(F x) {
    __m256 v = _mm256_max_ps(x.a, x.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
  }
  static float first(F x) { return _mm256_cvtss_f32(x.a); }

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
  static __m256i load8(const std::int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static M first_lanes(std::int64_t n) {
    const __m256i count = _mm256_set1_epi32(n < 16 ? static_cast<int>(n) : 16);
    return {_mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
            _mm256_cmpgt_epi32(count, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15))};
  }
};

}  // namespace
}  // namespace hadal
