// Hyper-connections and the mixture of experts of the definition (spec 3 and 6).
#include "model/reference_block.h"

#include <algorithm>
#include <cmath>

namespace hadal::reference {
namespace {

// Both directions of Sinkhorn: B[j][k] divided by its row sum (over k) or its column sum (over j), hc_eps added.
void normalise_rows(Vector& B, std::size_t n, double eps) {
  for (std::size_t j = 0; j < n; ++j) {
    double sum = 0;
    for (std::size_t k = 0; k < n; ++k) sum += B[j * n + k];
    for (std::size_t k = 0; k < n; ++k) B[j * n + k] /= sum + eps;
  }
}

void normalise_columns(Vector& B, std::size_t n, double eps) {
  for (std::size_t k = 0; k < n; ++k) {
    double sum = 0;
    for (std::size_t j = 0; j < n; ++j) sum += B[j * n + k];
    for (std::size_t j = 0; j < n; ++j) B[j * n + k] /= sum + eps;
  }
}

// m = fn . (x / rms(x)), x the streams one after the other
Vector mixing_logits(const Setting& setting, const HyperConnection& weights, const Vector& X) {
  Vector x = X;
  rms_norm(setting, x);
  return multiply(weights.fn, x);
}

// sum_j A_j X_j
Vector weighted_streams(const Setting& setting, const Vector& A, const Vector& X) {
  const auto d = static_cast<std::size_t>(setting.config.hidden_size);
  Vector h(d);
  for (std::size_t j = 0; j < A.size(); ++j)
    for (std::size_t i = 0; i < d; ++i) h[i] += A[j] * X[j * d + i];
  return h;
}

// y = w2 (weight * silu(g) * u), g and u clamped
Vector expert(const Setting& setting, const Expert& weights, const Vector& x, double weight) {
  const double limit = setting.config.swiglu_limit;
  Vector g = linear(setting, weights.w1, x);
  Vector u = linear(setting, weights.w3, x);
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (limit > 0) {
      g[i] = std::min(g[i], limit);  // from above only
      u[i] = std::clamp(u[i], -limit, limit);
    }
    g[i] = weight * silu(g[i]) * u[i];
  }
  return linear(setting, weights.w2, g);
}

}  // namespace

Mix hyper_connection(const Setting& setting, const HyperConnection& weights, const Vector& X) {
  const auto n = static_cast<std::size_t>(setting.config.hc_mult);
  const double eps = setting.config.hc_eps;
  const Vector m = mixing_logits(setting, weights, X);
  auto scaled = [&](std::size_t i, std::size_t part) { return m[i] * weights.scale[part] + weights.base[i]; };

  Mix mix{Vector(n), Vector(n), Vector(n * n)};
  for (std::size_t j = 0; j < n; ++j) mix.A[j] = sigmoid(scaled(j, 0)) + eps;
  for (std::size_t j = 0; j < n; ++j) mix.C[j] = 2 * sigmoid(scaled(n + j, 1));
  for (std::size_t j = 0; j < n; ++j) {
    double* row = mix.B.data() + j * n;  // softmax over the targets k of source j
    for (std::size_t k = 0; k < n; ++k) row[k] = scaled(2 * n + j * n + k, 2);
    const double most = *std::max_element(row, row + n);
    double sum = 0;
    for (std::size_t k = 0; k < n; ++k) sum += row[k] = std::exp(row[k] - most);
    for (std::size_t k = 0; k < n; ++k) row[k] = row[k] / sum + eps;
  }
  normalise_columns(mix.B, n, eps);
  for (std::int64_t i = 1; i < setting.config.hc_sinkhorn_iters; ++i) {
    normalise_rows(mix.B, n, eps);
    normalise_columns(mix.B, n, eps);
  }
  return mix;
}

Vector hc_pre(const Setting& setting, const Mix& mix, const Vector& X) { return weighted_streams(setting, mix.A, X); }

// X'_k = C_k y + sum_j B[j][k] X_j: the first index of B is the source
Vector hc_post(const Setting& setting, const Mix& mix, const Vector& y, const Vector& X) {
  const auto n = static_cast<std::size_t>(setting.config.hc_mult), d = y.size();
  Vector out(n * d);
  for (std::size_t k = 0; k < n; ++k) {
    for (std::size_t i = 0; i < d; ++i) {
      double sum = mix.C[k] * y[i];
      for (std::size_t j = 0; j < n; ++j) sum += mix.B[j * n + k] * X[j * d + i];
      out[k * d + i] = sum;
    }
  }
  return out;
}

Vector head_collapse(const Setting& setting, const HyperConnection& weights, const Vector& X) {
  Vector A = mixing_logits(setting, weights, X);
  for (std::size_t j = 0; j < A.size(); ++j)
    A[j] = sigmoid(A[j] * weights.scale[0] + weights.base[j]) + setting.config.hc_eps;
  return weighted_streams(setting, A, X);
}

Vector moe(const Setting& setting, const Moe& weights, const Vector& x, TokenId id) {
  const ModelConfig& c = setting.config;
  Vector s = multiply(weights.gate, x);
  for (double& v : s) v = sqrt_softplus(v);

  std::vector<std::int64_t> chosen;
  if (!weights.tid2eid.empty()) {
    auto row = weights.tid2eid.begin() + to_int(id) * c.num_experts_per_tok;
    chosen.assign(row, row + c.num_experts_per_tok);
  } else {
    Vector biased = s;  // the bias selects and never weighs
    for (std::size_t e = 0; e < biased.size(); ++e) biased[e] += weights.bias[e];
    chosen = largest(biased, c.num_experts_per_tok);
  }
  double sum = 0;
  for (std::int64_t e : chosen) sum += s[static_cast<std::size_t>(e)];

  Vector y(x.size());
  auto add = [&](const Vector& part) {
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += part[i];
  };
  for (std::int64_t e : chosen) {
    const double w = s[static_cast<std::size_t>(e)] / sum * c.routed_scaling_factor;
    add(expert(setting, weights.experts[static_cast<std::size_t>(e)], x, w));
  }
  add(expert(setting, weights.shared, x, 1));
  return y;
}

}  // namespace hadal::reference
