// Norms, rotation, activations and other operators over one vector. n need not be a multiple of 16.
#pragma once

#include "kernels/generic/formats.h"
#include "kernels/kernels.h"

namespace hadal::generic {

template <class V>
float rms_scale(const float* x, std::int64_t n, float eps) {
  auto acc = V::zero();
  for (std::int64_t i = 0; i < n; i += 16) {
    auto v = n - i >= 16 ? V::load(x + i) : V::load(x + i, n - i);
    acc = V::fma(v, v, acc);
  }
  float mean = V::sum(acc) / static_cast<float>(n);
  return 1.0f / V::first(V::sqrt(V::set(mean + eps)));
}

// Calls body(i, load, store) for each run of 16; the last run may be short.
template <class V, class Body>
void for_lanes(std::int64_t n, Body body) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    body(i, [](const float* p) { return V::load(p); }, [](float* p, typename V::F v) { V::store(p, v); });
  if (std::int64_t rest = n - i; rest > 0)
    body(
        i, [rest](const float* p) { return V::load(p, rest); },
        [rest](float* p, typename V::F v) { V::store(p, v, rest); });
}

template <class V>
void rms_norm(const float* x, const float* weight, std::int64_t n, float eps, float* out) {
  auto s = V::set(rms_scale<V>(x, n, eps));
  for_lanes<V>(n, [&](std::int64_t i, auto load, auto store) {
    auto y = V::mul(load(x + i), s);
    store(out + i, weight != nullptr ? V::mul(y, load(weight + i)) : y);
  });
}

// a' = a cos - b sin, b' = a sin + b cos for adjacent pairs (spec 4.2): one rounded product, then one fused.
template <class V>
void rotate(float* x, const float* cos, const float* sin, std::int64_t pairs) {
  for (std::int64_t i = 0; i < pairs; ++i) {
    float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = __builtin_fmaf(a, cos[i], -(b * sin[i]));
    x[2 * i + 1] = __builtin_fmaf(a, sin[i], b * cos[i]);
  }
}

// out = weight * silu(min(gate, limit)) * clamp(up, -limit, limit); a limit of 0 means none.
template <class V>
void swiglu(const float* gate, const float* up, float limit, float weight, std::int64_t n, float* out) {
  for_lanes<V>(n, [&](std::int64_t i, auto load, auto store) {
    auto g = load(gate + i), u = load(up + i);
    if (limit > 0) {
      g = V::min(V::set(limit), g);
      u = V::max(V::set(-limit), V::min(V::set(limit), u));
    }
    auto silu = V::mul(g, sigmoid<V>(g));
    store(out + i, V::mul(V::mul(silu, u), V::set(weight)));
  });
}

template <class V>
void axpy(float a, const float* x, std::int64_t n, float* y) {
  for_lanes<V>(
      n, [&](std::int64_t i, auto load, auto store) { store(y + i, V::fma(V::set(a), load(x + i), load(y + i))); });
}

template <class V>
void scale(float a, const float* x, std::int64_t n, float* y) {
  for_lanes<V>(n, [&](std::int64_t i, auto load, auto store) { store(y + i, V::mul(V::set(a), load(x + i))); });
}

template <class V>
void sqrt_softplus(const float* x, std::int64_t n, float* out) {
  for_lanes<V>(n, [&](std::int64_t i, auto load, auto store) { store(out + i, V::sqrt(softplus<V>(load(x + i)))); });
}

template <class V>
void sigmoid_vector(const float* x, std::int64_t n, float* out) {
  for_lanes<V>(n, [&](std::int64_t i, auto load, auto store) { store(out + i, sigmoid<V>(load(x + i))); });
}

template <class V>
void widen_bf16(const std::uint16_t* x, std::int64_t n, float* out) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) V::store(out + i, V::floats(V::template shl<16>(V::load_u16(x + i))));
  for (; i < n; ++i) out[i] = bf16_float<V>(x[i]);
}

// Softmax over members for every channel; sums ascend over members, one division at the end.
template <class V>
void pool(const float* const* values, const float* const* gates, int members, std::int64_t channels, float* out) {
  for_lanes<V>(channels, [&](std::int64_t i, auto load, auto store) {
    auto m = load(gates[0] + i);
    for (int j = 1; j < members; ++j) m = V::max(load(gates[j] + i), m);
    auto weights = V::zero(), total = V::zero();
    for (int j = 0; j < members; ++j) {
      auto e = exp<V>(V::sub(load(gates[j] + i), m));
      weights = V::add(weights, e);
      total = V::fma(e, load(values[j] + i), total);
    }
    store(out + i, V::div(total, weights));
  });
}

// Butterflies at distance 1, 2, 4, ..., then one product with n^-0.5.
template <class V>
void hadamard(float* x, std::int64_t n) {
  for (std::int64_t h = 1; h < n; h *= 2)
    for (std::int64_t i = 0; i < n; i += 2 * h) {
      std::int64_t j = i;
      for (; h >= 16 && j < i + h; j += 16) {
        auto a = V::load(x + j), b = V::load(x + j + h);
        V::store(x + j, V::add(a, b));
        V::store(x + j + h, V::sub(a, b));
      }
      for (; j < i + h; ++j) {
        float a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
    }
  float norm = 1.0f / V::first(V::sqrt(V::set(static_cast<float>(n))));
  scale<V>(norm, x, n, x);
}

// Round trip through E4M3 or E2M1 with one power-of-two scale for each block (spec 7.2).
template <class V>
void round_fp8(float* x, std::int64_t n, std::int64_t block) {
  for (std::int64_t b = 0; b < n; b += block) {
    std::int64_t size = n - b < block ? n - b : block;
    int e = scale_byte<V>(amax<V>(x + b, size), kFp8Max, kFp8Floor);
    auto s = V::set(e8m0_float<V>(e));
    for_lanes<V>(size, [&](std::int64_t i, auto load, auto store) {
      auto code = to_e4m3<V>(scaled<V>(load(x + b + i), e8m0_inverse<V>(e), kFp8Max));
      store(x + b + i, V::mul(from_e4m3<V>(code), s));
    });
  }
}
template <class V>
void round_fp4(float* x, std::int64_t n, std::int64_t block) {
  for (std::int64_t b = 0; b < n; b += block) {
    std::int64_t size = n - b < block ? n - b : block;
    int e = scale_byte<V>(amax<V>(x + b, size), kFp4Max, kFp4Floor);
    auto s = V::set(e8m0_float<V>(e));
    for_lanes<V>(size, [&](std::int64_t i, auto load, auto store) {
      auto code = to_e2m1<V>(scaled<V>(load(x + b + i), e8m0_inverse<V>(e), kFp4Max));
      store(x + b + i, V::mul(from_e2m1<V>(code), s));
    });
  }
}

template <class V>
void fill_elementwise(KernelTable& t) {
  t.rms_norm = rms_norm<V>;
  t.rms_scale = rms_scale<V>;
  t.rotate = rotate<V>;
  t.swiglu = swiglu<V>;
  t.axpy = axpy<V>;
  t.scale = scale<V>;
  t.sqrt_softplus = sqrt_softplus<V>;
  t.sigmoid = sigmoid_vector<V>;
  t.widen_bf16 = widen_bf16<V>;
  t.pool = pool<V>;
  t.hadamard = hadamard<V>;
  t.round_fp8 = round_fp8<V>;
  t.round_fp4 = round_fp4<V>;
}

}  // namespace hadal::generic
