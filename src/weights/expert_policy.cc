#include "weights/expert_policy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace hadal {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

class Lru final : public ExpertPolicy {
 public:
  explicit Lru(std::int32_t keys) : last_(static_cast<std::size_t>(keys), kNever) {}
  void advance(std::int64_t) override {}
  void used(std::int32_t key, std::int64_t) override { last_[static_cast<std::size_t>(key)] = ++clock_; }
  double value(std::int32_t key) const override { return last_[static_cast<std::size_t>(key)]; }

 private:
  std::vector<double> last_;
  double clock_ = 0;
};

// A count c of time t (in half-lives) is worth c 2^(t - now). Only the order matters, and log2(c) + t has the same
// order at any `now`, so nothing has to be decayed when time passes.
class DecayedLfu final : public ExpertPolicy {
 public:
  DecayedLfu(std::int32_t keys, double half_life)
      : worth_(static_cast<std::size_t>(keys), kNever), half_life_(half_life) {}
  void advance(std::int64_t tokens) override { now_ += static_cast<double>(tokens) / half_life_; }
  void used(std::int32_t key, std::int64_t tokens) override {
    double& w = worth_[static_cast<std::size_t>(key)];
    w = now_ + std::log2(std::exp2(w - now_) + static_cast<double>(tokens));
  }
  double value(std::int32_t key) const override { return worth_[static_cast<std::size_t>(key)]; }

 private:
  std::vector<double> worth_;
  double half_life_, now_ = 0;
};

class Pinned final : public ExpertPolicy {
 public:
  Pinned(std::span<const std::int64_t> frequency, std::int32_t pinned)
      : lru_(static_cast<std::int32_t>(frequency.size())), pinned_(frequency.size()) {
    std::vector<std::size_t> order(frequency.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return frequency[a] > frequency[b]; });
    for (std::size_t i = 0; i < std::min(order.size(), static_cast<std::size_t>(pinned)); ++i) pinned_[order[i]] = true;
  }
  void advance(std::int64_t) override {}
  void used(std::int32_t key, std::int64_t tokens) override { lru_.used(key, tokens); }
  double value(std::int32_t key) const override {
    return pinned_[static_cast<std::size_t>(key)] ? std::numeric_limits<double>::infinity() : lru_.value(key);
  }

 private:
  Lru lru_;
  std::vector<bool> pinned_;
};

}  // namespace

std::unique_ptr<ExpertPolicy> make_lru(std::int32_t keys) { return std::make_unique<Lru>(keys); }

std::unique_ptr<ExpertPolicy> make_decayed_lfu(std::int32_t keys, double half_life) {
  return std::make_unique<DecayedLfu>(keys, half_life);
}

std::unique_ptr<ExpertPolicy> make_pinned(std::span<const std::int64_t> frequency, std::int32_t pinned) {
  return std::make_unique<Pinned>(frequency, pinned);
}

std::unique_ptr<ExpertPolicy> make_default_policy(std::int32_t keys) { return make_decayed_lfu(keys, 256); }

}  // namespace hadal
