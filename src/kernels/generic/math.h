// exp, ln(1+x) and the logistic function over lanes, written once so that every instruction set gives the same bits.
#pragma once

namespace hadal::generic {

template <class V>
typename V::F abs(typename V::F x) {
  return V::floats(V::bit_and(V::bits(x), V::iset(0x7fffffff)));
}

// e^x, within 2 units in the last place; exactly 0 below -87.3 (2^-126 is the smallest float without denormals),
// constant above 88. e^x = 2^n e^f with n = round(x / ln 2) and |f| <= ln 2 / 2; ln 2 in two parts keeps f exact.
template <class V>
typename V::F exp(typename V::F x) {
  auto low = V::less(x, V::set(-87.3f));
  auto c = V::min(V::set(88.0f), V::max(V::set(-87.3f), x));  // the second operand wins a comparison with NaN
  auto n = V::to_int(V::mul(c, V::set(1.44269504f)));
  auto nf = V::from_int(n);
  auto f = V::fma(nf, V::set(-0.693359375f), c);
  f = V::fma(nf, V::set(2.12194440e-4f), f);
  // Minimax polynomial of (e^f - 1 - f) / f^2 on that interval (Cephes expf).
  auto p = V::set(1.9875691500e-4f);
  p = V::fma(p, f, V::set(1.3981999507e-3f));
  p = V::fma(p, f, V::set(8.3334519073e-3f));
  p = V::fma(p, f, V::set(4.1665795894e-2f));
  p = V::fma(p, f, V::set(1.6666665459e-1f));
  p = V::fma(p, f, V::set(5.0000001201e-1f));
  p = V::add(V::fma(p, V::mul(f, f), f), V::set(1.0f));
  auto power = V::floats(V::template shl<23>(V::add(n, V::iset(127))));
  return V::select(low, V::zero(), V::mul(p, power));
}

// ln(1+u) for u in [0, 1]: 2 atanh(s), s = u / (2+u) <= 1/3. The series in s^2 needs nine terms for float32.
template <class V>
typename V::F log1p(typename V::F u) {
  auto s = V::div(u, V::add(u, V::set(2.0f)));
  auto z = V::mul(s, s);
  auto p = V::set(1.0f / 17);
  p = V::fma(p, z, V::set(1.0f / 15));
  p = V::fma(p, z, V::set(1.0f / 13));
  p = V::fma(p, z, V::set(1.0f / 11));
  p = V::fma(p, z, V::set(1.0f / 9));
  p = V::fma(p, z, V::set(1.0f / 7));
  p = V::fma(p, z, V::set(1.0f / 5));
  p = V::fma(p, z, V::set(1.0f / 3));
  p = V::fma(p, z, V::set(1.0f));
  return V::mul(V::add(s, s), p);
}

// 1 / (1 + e^-x), through e^-|x| so that neither side overflows or cancels.
template <class V>
typename V::F sigmoid(typename V::F x) {
  auto e = exp<V>(V::sub(V::zero(), abs<V>(x)));
  auto r = V::div(V::set(1.0f), V::add(V::set(1.0f), e));
  return V::select(V::less(x, V::zero()), V::mul(e, r), r);
}

// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)
template <class V>
typename V::F softplus(typename V::F x) {
  auto e = exp<V>(V::sub(V::zero(), abs<V>(x)));
  return V::add(V::max(x, V::zero()), log1p<V>(e));
}

template <class V>
float exp1(float x) {
  return V::first(exp<V>(V::set(x)));
}

}  // namespace hadal::generic
