// Manifold-constrained hyper-connections (spec 3).
#pragma once

#include "kernels/generic/elementwise.h"

namespace hadal::generic {

constexpr int kMaxStreams = 16;  // the largest hc_mult these kernels take; releases use 4

// mix [2n + n*n], base [2n + n*n], scale [3] -> pre [n], post [n], comb [n][n]. Sums ascend; divisions are divisions.
template <class V>
void hc_coefficients(const float* mix, const float* base, const float* scale, int n, int sinkhorn_iters, float eps,
                     float* pre, float* post, float* comb) {
  auto gate = [&](const float* m, const float* b, float s) {
    return sigmoid<V>(V::add(V::mul(V::load(m, n), V::set(s)), V::load(b, n)));
  };
  V::store(pre, V::add(gate(mix, base, scale[0]), V::set(eps)), n);
  V::store(post, V::mul(gate(mix + n, base + n, scale[1]), V::set(2.0f)), n);

  for (int j = 0; j < n; ++j) {
    auto row = V::add(V::mul(V::load(mix + 2 * n + j * n, n), V::set(scale[2])), V::load(base + 2 * n + j * n, n));
    float m[16], e[16], total = 0;
    V::store(m, row);
    float top = m[0];
    for (int k = 1; k < n; ++k) top = m[k] > top ? m[k] : top;
    V::store(e, exp<V>(V::sub(row, V::set(top))));
    for (int k = 0; k < n; ++k) total += e[k];
    for (int k = 0; k < n; ++k) comb[j * n + k] = e[k] / total + eps;
  }
  auto columns = [&] {
    for (int k = 0; k < n; ++k) {
      float total = 0;
      for (int j = 0; j < n; ++j) total += comb[j * n + k];
      total += eps;
      for (int j = 0; j < n; ++j) comb[j * n + k] /= total;
    }
  };
  auto rows = [&] {
    for (int j = 0; j < n; ++j) {
      float total = 0;
      for (int k = 0; k < n; ++k) total += comb[j * n + k];
      total += eps;
      for (int k = 0; k < n; ++k) comb[j * n + k] /= total;
    }
  };
  columns();
  for (int i = 1; i < sinkhorn_iters; ++i) {
    rows();
    columns();
  }
}

// out = sum_j pre_j X_j, streams [n][d]
template <class V>
void hc_pre(const float* streams, const float* pre, int n, std::int64_t d, float* out) {
  for_lanes<V>(d, [&](std::int64_t i, auto load, auto store) {
    auto acc = V::zero();
    for (int j = 0; j < n; ++j) acc = V::fma(V::set(pre[j]), load(streams + j * d + i), acc);
    store(out + i, acc);
  });
}

// X'_k = post_k y + sum_j comb[j][k] X_j, j ascending; the first index of comb is the source stream.
// A fixed count keeps the streams in registers.
template <class V, int kStreams>
void hc_post_of(const float* y, const float* post, const float* comb, int n, std::int64_t d, float* streams) {
  if constexpr (kStreams > 0) n = kStreams;
  for_lanes<V>(d, [&](std::int64_t i, auto load, auto store) {
    typename V::F x[kStreams > 0 ? kStreams : kMaxStreams];
    for (int j = 0; j < n; ++j) x[j] = load(streams + j * d + i);
    auto v = load(y + i);
    for (int k = 0; k < n; ++k) {
      auto acc = V::mul(V::set(post[k]), v);
      for (int j = 0; j < n; ++j) acc = V::fma(V::set(comb[j * n + k]), x[j], acc);
      store(streams + k * d + i, acc);
    }
  });
}

template <class V>
void hc_post(const float* y, const float* post, const float* comb, int n, std::int64_t d, float* streams) {
  if (n == 4)
    hc_post_of<V, 4>(y, post, comb, n, d, streams);  // hc_mult of every release
  else
    hc_post_of<V, 0>(y, post, comb, n, d, streams);
}

template <class V>
void fill_hyper_connection(KernelTable& t) {
  t.hc_coefficients = hc_coefficients<V>;
  t.hc_pre = hc_pre<V>;
  t.hc_post = hc_post<V>;
}

}  // namespace hadal::generic
