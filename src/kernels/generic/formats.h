// E4M3, E2M1, E8M0 and bfloat16 over lanes, and the block scale of the trained numerics.
#pragma once

#include <cstdint>

#include "kernels/generic/math.h"

namespace hadal::generic {

// Nearest even bfloat16 in the high half, as float bits. Denormals become signed zero and NaNs quiet, which is what
// vcvtneps2bf16 does.
template <class V>
typename V::I round_bf16(typename V::F x) {
  auto u = V::bits(x);
  auto magnitude = V::bit_and(u, V::iset(0x7fffffff));
  auto odd = V::bit_and(V::template shr<16>(u), V::iset(1));
  auto r = V::add(u, V::add(V::iset(0x7fff), odd));
  r = V::select(V::greater(magnitude, V::iset(0x7f800000)), V::bit_or(u, V::iset(0x00400000)), r);
  r = V::select(V::greater(V::iset(0x00800000), magnitude), V::bit_and(u, V::iset(INT32_MIN)), r);
  return V::bit_and(r, V::iset(INT32_C(-65536)));
}

// 2^(b-127); b = 0 gives 0 because denormals are flushed.
template <class V>
typename V::F from_e8m0(typename V::I b) {
  return V::floats(V::template shl<23>(b));
}

// Codes 0..255 to float. Without kNan the codes 0x7f and 0xff are 480, the value their bits spell.
template <class V, bool kNan = true>
typename V::F from_e4m3(typename V::I code) {
  auto c = V::bit_and(code, V::iset(0x7f));
  auto normal = V::add(V::template shl<20>(c), V::iset(120 << 23));
  auto subnormal = V::bits(V::mul(V::from_int(c), V::set(0x1p-9f)));
  auto r = V::select(V::greater(V::iset(8), c), subnormal, normal);
  if constexpr (kNan) r = V::select(V::equal(c, V::iset(127)), V::iset(0x7fc00000), r);
  return V::floats(V::bit_or(r, V::template shl<24>(V::bit_and(code, V::iset(0x80)))));
}

// Nearest even code; x is within +-448.
template <class V>
typename V::I to_e4m3(typename V::F x) {
  auto u = V::bits(x);
  auto a = V::bit_and(u, V::iset(0x7fffffff));
  auto odd = V::bit_and(V::template shr<20>(a), V::iset(1));
  auto normal = V::template shr<20>(V::add(a, V::add(V::iset(0x7ffff - (120 << 23)), odd)));
  auto subnormal = V::to_int(V::mul(V::floats(a), V::set(512.0f)));  // 8 is the first normal code
  auto code = V::select(V::less(V::floats(a), V::set(0x1p-6f)), subnormal, normal);
  return V::bit_or(code, V::bit_and(V::template shr<24>(u), V::iset(0x80)));
}

// Codes 0..15 to float. 0.5 is the only subnormal.
template <class V>
typename V::F from_e2m1(typename V::I code) {
  auto c = V::bit_and(code, V::iset(7));
  auto r = V::add(V::template shl<22>(c), V::iset(126 << 23));
  r = V::select(V::greater(V::iset(2), c), V::bits(V::mul(V::from_int(c), V::set(0.5f))), r);
  return V::floats(V::bit_or(r, V::template shl<28>(V::bit_and(code, V::iset(8)))));
}

// Nearest even code: counts the midpoints below |x|; at a midpoint the even neighbour wins.
template <class V>
typename V::I to_e2m1(typename V::F x) {
  auto a = abs<V>(x);
  auto one = V::iset(1), none = V::iset(0);
  auto above = [&](float midpoint) { return V::select(V::less(V::set(midpoint), a), one, none); };
  auto from = [&](float midpoint) { return V::select(V::less_equal(V::set(midpoint), a), one, none); };
  auto code = V::add(V::add(above(0.25f), from(0.75f)), V::add(above(1.25f), from(1.75f)));
  code = V::add(code, V::add(V::add(above(2.5f), from(3.5f)), above(5.0f)));
  return V::bit_or(code, V::bit_and(V::template shr<28>(V::bits(x)), V::iset(8)));
}

// E8M0 byte of the smallest power of two s with amax * (1/qmax) <= s, the product in float32 (spec 7.2).
inline constexpr float kFp8Max = 448.0f, kFp4Max = 6.0f;
inline constexpr float kFp8Floor = 1e-4f, kFp4Floor = 6 * 0x1p-126f;
template <class V>
int scale_byte(float amax, float qmax, float floor) {
  float a = amax > floor ? amax : floor;
  std::uint32_t u = __builtin_bit_cast(std::uint32_t, a * (1.0f / qmax));
  int b = static_cast<int>((u >> 23) & 255) + ((u & 0x7fffff) != 0 ? 1 : 0);
  return b < 254 ? b : 254;
}
template <class V>
float e8m0_float(int b) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(b) << 23);
}
// 1 / 2^(b-127), exact for b in 1..253.
template <class V>
float e8m0_inverse(int b) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(254 - b) << 23);
}

template <class V>
float amax(const float* x, std::int64_t n) {
  auto m = V::zero();
  for (std::int64_t i = 0; i < n; i += 16) m = V::max(abs<V>(V::load(x + i, n - i)), m);
  return V::max_of(m);
}

// x / s, clamped to +-qmax.
template <class V>
typename V::F scaled(typename V::F x, float inverse, float qmax) {
  return V::max(V::min(V::mul(x, V::set(inverse)), V::set(qmax)), V::set(-qmax));
}

template <class V>
float bf16_float(std::uint16_t h) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(h) << 16);
}

}  // namespace hadal::generic
