#include "weights/expert_policy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace hadal {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class Lru final : public ExpertPolicy {
 public:
  explicit Lru(ExpertCounts counts) : counts_(counts), last_(static_cast<std::size_t>(counts.keys()), -kInfinity) {}
  void asked(std::int32_t layer, std::int64_t, std::span<const ExpertWant> wants) override {
    for (const ExpertWant& w : wants) last_[counts_.index(layer, w.expert)] = ++clock_;
  }
  double value(std::int32_t key) const override { return last_[static_cast<std::size_t>(key)]; }

 private:
  ExpertCounts counts_;
  std::vector<double> last_;
  double clock_ = 0;
};

class Pinned final : public ExpertPolicy {
 public:
  Pinned(ExpertCounts counts, std::span<const std::int64_t> frequency, std::int32_t pinned)
      : lru_(counts), pinned_(frequency.size()) {
    std::vector<std::size_t> order(frequency.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return frequency[a] > frequency[b]; });
    for (std::size_t i = 0; i < std::min(order.size(), static_cast<std::size_t>(pinned)); ++i) pinned_[order[i]] = true;
  }
  void asked(std::int32_t layer, std::int64_t tokens, std::span<const ExpertWant> wants) override {
    lru_.asked(layer, tokens, wants);
  }
  double value(std::int32_t key) const override {
    return pinned_[static_cast<std::size_t>(key)] ? kInfinity : lru_.value(key);
  }

 private:
  Lru lru_;
  std::vector<bool> pinned_;
};

// Share of a layer's recent tokens that used each expert: an average whose weights halve every half_life tokens.
class Rates {
 public:
  Rates(ExpertCounts counts, double half_life)
      : counts_(counts),
        half_life_(half_life),
        rate_(static_cast<std::size_t>(counts.keys())),
        at_(static_cast<std::size_t>(counts.keys())),
        now_(static_cast<std::size_t>(counts.layers)) {}
  // The tokens of a step count as if its uses were spread evenly over them.
  void asked(std::int32_t layer, std::int64_t tokens, std::span<const ExpertWant> wants) {
    double& now = now_[static_cast<std::size_t>(layer)];
    now += static_cast<double>(tokens) / half_life_;
    const double fresh = 1 - std::exp2(-static_cast<double>(tokens) / half_life_);
    for (const ExpertWant& w : wants) {
      const std::int32_t key = layer * counts_.experts + w.expert;
      rate_[static_cast<std::size_t>(key)] =
          of(key) + fresh * static_cast<double>(w.tokens) / static_cast<double>(tokens);
      at_[static_cast<std::size_t>(key)] = now;
    }
  }
  double of(std::int32_t key) const {
    const auto k = static_cast<std::size_t>(key);
    return rate_[k] * std::exp2(at_[k] - now_[static_cast<std::size_t>(key / counts_.experts)]);
  }

 private:
  ExpertCounts counts_;
  double half_life_;
  std::vector<double> rate_, at_;  // by key: value, and the layer's time (in half-lives) it is of
  std::vector<double> now_;        // by layer
};

class DecayedLfu final : public ExpertPolicy {
 public:
  DecayedLfu(ExpertCounts counts, double half_life) : rates_(counts, half_life) {}
  void asked(std::int32_t layer, std::int64_t tokens, std::span<const ExpertWant> wants) override {
    rates_.asked(layer, tokens, wants);
  }
  double value(std::int32_t key) const override { return rates_.of(key); }

 private:
  Rates rates_;
};

class LikelyNext final : public ExpertPolicy {
 public:
  explicit LikelyNext(ExpertCounts counts)
      : counts_(counts),
        rates_(counts, kHalfLife),
        last_(static_cast<std::size_t>(counts.keys()), -1),
        now_(static_cast<std::size_t>(counts.layers)) {}

  void asked(std::int32_t layer, std::int64_t tokens, std::span<const ExpertWant> wants) override {
    if (tokens == 1) learn(layer, wants);
    rates_.asked(layer, tokens, wants);
    const std::int64_t now = ++now_[static_cast<std::size_t>(layer)];
    for (const ExpertWant& w : wants) last_[counts_.index(layer, w.expert)] = now;
  }

  double value(std::int32_t key) const override {
    const double rate = rates_.of(key);
    const bool just_used =
        last_[static_cast<std::size_t>(key)] == now_[static_cast<std::size_t>(key / counts_.experts)];
    return just_used ? repetition_ + (1 - repetition_) * rate : (1 - repetition_) * rate;
  }

 private:
  // Of half-lives from 1 to 256 tokens, 64 was best or near it on every trace of the test.
  static constexpr double kHalfLife = 64;
  static constexpr double kStep = 1.0 / 256;  // of the two averages below: one token of Flash

  // How often an expert of the last token comes again, beside how often its rate said it would.
  void learn(std::int32_t layer, std::span<const ExpertWant> wants) {
    const std::int32_t first = layer * counts_.experts;
    const std::int64_t now = now_[static_cast<std::size_t>(layer)];
    for (std::int32_t e = 0; now > 0 && e < counts_.experts; ++e) {
      if (last_[counts_.index(layer, e)] != now) continue;
      const bool again = std::any_of(wants.begin(), wants.end(), [e](const ExpertWant& w) { return w.expert == e; });
      repeated_ += ((again ? 1.0 : 0.0) - repeated_) * kStep;
      expected_ += (rates_.of(first + e) - expected_) * kStep;
    }
    repetition_ = std::clamp((repeated_ - expected_) / (1 - std::min(expected_, 0.99)), 0.0, 1.0);
  }

  ExpertCounts counts_;
  Rates rates_;
  std::vector<std::int64_t> last_, now_;  // by key, by layer: how often the layer had been asked
  double repeated_ = 0, expected_ = 0, repetition_ = 0;
};

}  // namespace

std::unique_ptr<ExpertPolicy> make_lru(ExpertCounts counts) { return std::make_unique<Lru>(counts); }

std::unique_ptr<ExpertPolicy> make_decayed_lfu(ExpertCounts counts, double half_life) {
  return std::make_unique<DecayedLfu>(counts, half_life);
}

std::unique_ptr<ExpertPolicy> make_pinned(ExpertCounts counts, std::span<const std::int64_t> frequency,
                                          std::int32_t pinned) {
  return std::make_unique<Pinned>(counts, frequency, pinned);
}

std::unique_ptr<ExpertPolicy> make_likely_next(ExpertCounts counts) { return std::make_unique<LikelyNext>(counts); }

}  // namespace hadal
