// Sixteen float32 lanes as a plain array: the definition of every lane operation. Interface of all lanes.h files:
//   F sixteen floats, I sixteen int32, M sixteen booleans; every operation acts on each lane alone and rounds as IEEE
//   float32 says, to nearest even. max and min are "a > b ? a : b" and "a < b ? a : b", as the x86 instructions are.
// The anonymous namespace keeps code of different instruction sets apart: the linker must never merge them.
#pragma once

#include <xmmintrin.h>

#include <cstdint>
#include <cstring>

namespace hadal {
namespace {

struct Lanes {
  struct F {
    float v[16];
  };
  struct I {
    std::int32_t v[16];
  };
  struct M {
    bool v[16];
  };

  template <class R, class Op>
  static R each(Op op) {
    R r;
    for (int i = 0; i < 16; ++i) r.v[i] = op(i);
    return r;
  }

  static constexpr int kHeadTile = 1;  // accumulators of an attention tile that registers hold

  static F set(float x) {
    return each<F>([&](int) { return x; });
  }
  static F zero() { return set(0); }
  static F load(const float* p) {
    F r;
    std::memcpy(r.v, p, 64);
    return r;
  }
  static F load(const float* p, std::int64_t n) {
    return each<F>([&](int i) { return i < n ? p[i] : 0.0f; });
  }
  static void store(float* p, F a) { std::memcpy(p, a.v, 64); }
  static void store(float* p, F a, std::int64_t n) {
    for (int i = 0; i < 16 && i < n; ++i) p[i] = a.v[i];
  }

  static F add(F a, F b) {
    return each<F>([&](int i) { return a.v[i] + b.v[i]; });
  }
  static F sub(F a, F b) {
    return each<F>([&](int i) { return a.v[i] - b.v[i]; });
  }
  static F mul(F a, F b) {
    return each<F>([&](int i) { return a.v[i] * b.v[i]; });
  }
  static F div(F a, F b) {
    return each<F>([&](int i) { return a.v[i] / b.v[i]; });
  }
  static F fma(F a, F b, F c) {
    return each<F>([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
  }
  // The SSE forms, so that flushing of denormal operands is the same as in the wide forms.
  static F max(F a, F b) {
    return each<F>([&](int i) { return _mm_cvtss_f32(_mm_max_ss(_mm_set_ss(a.v[i]), _mm_set_ss(b.v[i]))); });
  }
  static F min(F a, F b) {
    return each<F>([&](int i) { return _mm_cvtss_f32(_mm_min_ss(_mm_set_ss(a.v[i]), _mm_set_ss(b.v[i]))); });
  }
  static F sqrt(F a) {
    return each<F>([&](int i) { return __builtin_sqrtf(a.v[i]); });
  }

  static M less(F a, F b) {
    return each<M>([&](int i) { return a.v[i] < b.v[i]; });
  }
  static M less_equal(F a, F b) {
    return each<M>([&](int i) { return a.v[i] <= b.v[i]; });
  }
  static M equal(I a, I b) {
    return each<M>([&](int i) { return a.v[i] == b.v[i]; });
  }
  static M greater(I a, I b) {
    return each<M>([&](int i) { return a.v[i] > b.v[i]; });
  }
  static F select(M m, F yes, F no) {
    return each<F>([&](int i) { return m.v[i] ? yes.v[i] : no.v[i]; });
  }
  static I select(M m, I yes, I no) {
    return each<I>([&](int i) { return m.v[i] ? yes.v[i] : no.v[i]; });
  }

  static I iset(std::int32_t x) {
    return each<I>([&](int) { return x; });
  }
  static I load(const std::int32_t* p) {
    I r;
    std::memcpy(r.v, p, 64);
    return r;
  }
  static void store(std::int32_t* p, I a) { std::memcpy(p, a.v, 64); }
  static I load_u8(const std::uint8_t* p) {
    return each<I>([&](int i) { return p[i]; });
  }
  static I load_u16(const std::uint16_t* p) {
    return each<I>([&](int i) { return p[i]; });
  }
  static void store_u8(std::uint8_t* p, I a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::uint8_t>(a.v[i]);
  }
  static void store_u16(std::uint16_t* p, I a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::uint16_t>(a.v[i]);
  }
  static I add(I a, I b) {
    return each<I>([&](int i) { return wrap(u(a.v[i]) + u(b.v[i])); });
  }
  static I sub(I a, I b) {
    return each<I>([&](int i) { return wrap(u(a.v[i]) - u(b.v[i])); });
  }
  static I bit_and(I a, I b) {
    return each<I>([&](int i) { return a.v[i] & b.v[i]; });
  }
  static I bit_or(I a, I b) {
    return each<I>([&](int i) { return a.v[i] | b.v[i]; });
  }
  template <int N>
  static I shl(I a) {
    return each<I>([&](int i) { return wrap(u(a.v[i]) << N); });
  }
  template <int N>
  static I shr(I a) {
    return each<I>([&](int i) { return wrap(u(a.v[i]) >> N); });
  }  // zeros come in

  static I bits(F a) {
    I r;
    std::memcpy(r.v, a.v, 64);
    return r;
  }
  static F floats(I a) {
    F r;
    std::memcpy(r.v, a.v, 64);
    return r;
  }
  static F from_int(I a) {
    return each<F>([&](int i) { return static_cast<float>(a.v[i]); });
  }
  static I to_int(F a) {
    return each<I>([&](int i) { return _mm_cvtss_si32(_mm_set_ss(a.v[i])); });
  }  // nearest even

  // Pairwise at distance 8, 4, 2, 1.
  static float sum(F a) {
    for (int d = 8; d > 0; d /= 2)
      for (int i = 0; i < d; ++i) a.v[i] += a.v[i + d];
    return a.v[0];
  }
  static float max_of(F a) {
    for (int d = 8; d > 0; d /= 2)
      for (int i = 0; i < d; ++i) a.v[i] = a.v[i] > a.v[i + d] ? a.v[i] : a.v[i + d];
    return a.v[0];
  }
  static float first(F a) { return a.v[0]; }

  // out[8 i + t] = in[t * stride + i]: eight words of eight rows.
  static void transpose8(const std::uint32_t* in, std::int64_t stride, std::uint32_t* out) {
    for (int i = 0; i < 8; ++i)
      for (int t = 0; t < 8; ++t) out[8 * i + t] = in[t * stride + i];
  }

 private:
  static std::uint32_t u(std::int32_t x) { return static_cast<std::uint32_t>(x); }
  static std::int32_t wrap(std::uint32_t x) { return static_cast<std::int32_t>(x); }
};

}  // namespace
}  // namespace hadal
