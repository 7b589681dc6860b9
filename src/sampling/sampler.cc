#include "sampling/sampler.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "sampling/portable_math.h"

namespace hadal {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Sums four independent chains, so that the additions of a large vocabulary overlap; the order is part of the
// definition.
template <class F>
double ordered_sum(std::size_t n, F&& value) {
  double chain[4] = {0, 0, 0, 0};
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (std::size_t j = 0; j < 4; ++j) chain[j] += value(i + j);
  }
  for (; i < n; ++i) chain[i % 4] += value(i);
  return (chain[0] + chain[1]) + (chain[2] + chain[3]);
}

Status check_logits(std::span<const float> logits) {
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < std::numeric_limits<float>::infinity())) {  // catches NaN too
      return fail(ErrorCode::kInternal, "the logit of token {} is {}; the model's output cannot be sampled", i,
                  logits[i]);
    }
  }
  return {};
}

double log_normaliser(std::span<const float> logits) {  // log sum exp
  const double top = *std::max_element(logits.begin(), logits.end());
  return top + portable_log(ordered_sum(logits.size(), [&](std::size_t i) { return portable_exp(logits[i] - top); }));
}

// Clears the weights of forbidden ids and finds the most likely of the rest; -1 when nothing is left.
std::int64_t best_allowed(std::span<const float> logits, const std::vector<IdRange>& forbidden,
                          std::vector<double>& weight) {
  weight.assign(logits.size(), 1.0);
  for (const IdRange& range : forbidden) {
    const auto begin = static_cast<std::size_t>(std::clamp<std::int64_t>(range.begin, 0, std::ssize(weight)));
    const auto end = static_cast<std::size_t>(std::clamp<std::int64_t>(range.end, 0, std::ssize(weight)));
    for (std::size_t i = begin; i < end; ++i) weight[i] = 0;
  }
  std::int64_t best = -1;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == kMinusInfinity) weight[i] = 0;
    if (weight[i] != 0 && (best < 0 || logits[i] > logits[static_cast<std::size_t>(best)]))
      best = static_cast<std::int64_t>(i);
  }
  return best;
}

// Sorts ids by weight, most likely first, only as far as asked: `enough` sees each sorted prefix length once, growing.
class PartialOrder {
 public:
  PartialOrder(std::vector<std::int32_t>& order, const std::vector<double>& weight) : order_(order), weight_(weight) {
    order.clear();
    for (std::size_t i = 0; i < weight.size(); ++i) {
      if (weight[i] > 0) order.push_back(static_cast<std::int32_t>(i));
    }
  }
  std::size_t size() const { return order_.size(); }
  std::int32_t at(std::size_t rank) {
    while (rank >= sorted_) extend();
    return order_[rank];
  }

 private:
  void extend() {
    const std::size_t end =
        std::min(order_.size(), sorted_ == 0 ? std::size_t{64} : sorted_ * 8);  // most nuclei are small
    auto first = order_.begin() + static_cast<std::ptrdiff_t>(sorted_);
    std::partial_sort(first, order_.begin() + static_cast<std::ptrdiff_t>(end), order_.end(),
                      [this](std::int32_t a, std::int32_t b) {
                        const double x = weight_[static_cast<std::size_t>(a)], y = weight_[static_cast<std::size_t>(b)];
                        return x != y ? x > y : a < b;
                      });
    sorted_ = end;
  }
  std::vector<std::int32_t>& order_;
  const std::vector<double>& weight_;
  std::size_t sorted_ = 0;
};

// How many of the most likely ids pass top-k and top-p.
std::size_t nucleus(PartialOrder& order, const std::vector<double>& weight, const SamplingOptions& options) {
  std::size_t limit = order.size();
  if (options.top_k > 0) limit = std::min(limit, static_cast<std::size_t>(options.top_k));
  if (options.top_p >= 1) return limit;
  double total = 0;
  if (limit == order.size()) {
    total = ordered_sum(weight.size(), [&](std::size_t i) { return weight[i]; });
  } else {
    for (std::size_t r = 0; r < limit; ++r) total += weight[static_cast<std::size_t>(order.at(r))];
  }
  const double wanted = options.top_p * total;
  double sum = 0;
  for (std::size_t r = 0; r < limit; ++r) {
    sum += weight[static_cast<std::size_t>(order.at(r))];
    if (sum >= wanted) return r + 1;
  }
  return limit;
}

// Removes what top-k, top-p and min-p exclude.
void truncate(std::vector<double>& weight, std::vector<std::int32_t>& ids, const SamplingOptions& options) {
  if (options.top_k > 0 || options.top_p < 1) {
    PartialOrder order(ids, weight);
    const std::size_t keep = nucleus(order, weight, options);
    if (keep < order.size()) {
      (void)order.at(keep);  // ranks below keep are final only once they are sorted
      for (std::size_t r = keep; r < ids.size(); ++r) weight[static_cast<std::size_t>(ids[r])] = 0;
    }
  }
  if (options.min_p > 0) {
    for (double& w : weight) {
      if (w < options.min_p) w = 0;  // the most likely id has weight exactly 1
    }
  }
}

}  // namespace

Status check_sampling(const SamplingOptions& o) {
  if (!(o.temperature == 0 || (o.temperature >= 1e-6 && o.temperature <= 100))) {
    return fail(ErrorCode::kUsage, "temperature is {}; it must be 0 (greedy) or from 0.000001 to 100", o.temperature);
  }
  if (!(o.top_p > 0 && o.top_p <= 1))
    return fail(ErrorCode::kUsage, "top_p is {}; it must be above 0 and at most 1", o.top_p);
  if (o.top_k < 0) return fail(ErrorCode::kUsage, "top_k is {}; it must be 0 (off) or more", o.top_k);
  if (!(o.min_p >= 0 && o.min_p <= 1)) return fail(ErrorCode::kUsage, "min_p is {}; it must be from 0 to 1", o.min_p);
  for (const IdRange& range : o.forbidden) {
    if (range.begin < 0 || range.end < range.begin) {
      return fail(ErrorCode::kUsage, "forbidden ids {}..{} are not a range", range.begin, range.end);
    }
  }
  return {};
}

bool is_stop(const SamplingOptions& options, TokenId id) {
  return std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end();
}

Result<Sampled> Sampler::sample(std::span<const float> logits, const SamplingOptions& options, const Draw& draw) {
  HADAL_CHECK_OK(check_logits(logits));
  const std::int64_t best = best_allowed(logits, options.forbidden, weight_);
  if (best < 0)
    return fail(ErrorCode::kUsage, "none of {} tokens may be sampled: all are forbidden or have probability 0",
                logits.size());

  const double normaliser = log_normaliser(logits);
  const auto result = [&](std::int64_t id, double logprob, std::int64_t kept) {
    return Sampled{TokenId{static_cast<std::int32_t>(id)}, logprob, logits[static_cast<std::size_t>(id)] - normaliser,
                   kept};
  };
  if (options.temperature == 0) return result(best, 0.0, 1);

  const double top = logits[static_cast<std::size_t>(best)];
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (weight_[i] != 0) weight_[i] = portable_exp((logits[i] - top) / options.temperature);
  }
  truncate(weight_, order_, options);

  // Sequential on purpose: the walk below must meet the same partial sums, or rounding could run past the last id.
  double total = 0;
  std::int64_t kept = 0;
  for (double w : weight_) {
    total += w;
    kept += w > 0;
  }
  const double target = uniform(draw) * total;
  double sum = 0;
  std::int64_t chosen = best;
  for (std::size_t i = 0; i < weight_.size(); ++i) {
    if (weight_[i] == 0) continue;
    chosen = static_cast<std::int64_t>(i);
    sum += weight_[i];
    if (sum > target) break;
  }
  return result(chosen, portable_log(weight_[static_cast<std::size_t>(chosen)] / total), kept);
}

Result<double> raw_logprob(std::span<const float> logits, TokenId id) {
  if (to_int(id) < 0 || to_int(id) >= std::ssize(logits)) {
    return fail(ErrorCode::kUsage, "token {} is outside the vocabulary of {}", to_int(id), logits.size());
  }
  HADAL_CHECK_OK(check_logits(logits));
  if (*std::max_element(logits.begin(), logits.end()) == kMinusInfinity) {
    return fail(ErrorCode::kInternal, "all {} logits are minus infinity", logits.size());
  }
  return logits[static_cast<std::size_t>(to_int(id))] - log_normaliser(logits);
}

Result<std::vector<Sampled>> most_likely(std::span<const float> logits, std::int64_t n) {
  HADAL_CHECK_OK(check_logits(logits));
  n = std::clamp<std::int64_t>(n, 0, std::ssize(logits));
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  std::partial_sort(order.begin(), order.begin() + n, order.end(), [&](std::int32_t a, std::int32_t b) {
    return logit(a) > logit(b) || (logit(a) == logit(b) && a < b);
  });
  const double normaliser = log_normaliser(logits);
  std::vector<Sampled> out;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t id = order[static_cast<std::size_t>(i)];
    out.push_back({TokenId{id}, logit(id) - normaliser, logit(id) - normaliser, n});
  }
  return out;
}

}  // namespace hadal
