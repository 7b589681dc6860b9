// Policies replayed on recorded and on made-up routing: hits of experts per token, as the store would have them, one
// miss at a time and without prefetch.
#include "weights/expert_policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>
#include <vector>

namespace hadal {
namespace {

struct Trace {
  std::int32_t layers = 0, experts = 0;
  std::vector<std::vector<std::int32_t>> tokens;  // keys in the order of asking, layers ascending
  ExpertCounts counts() const { return {layers, experts}; }
  std::int32_t keys() const { return layers * experts; }
};

// tests/golden/routing/README.md describes the format.
Trace read_trace(const std::string& name) {
  Trace t;
  std::ifstream in(std::string(HADAL_SOURCE_DIR "/tests/golden/routing/") + name);
  std::string line;
  std::getline(in, line);
  std::istringstream(line) >> t.layers >> t.experts;
  while (std::getline(in, line)) {
    std::istringstream numbers(line);
    t.tokens.emplace_back(std::istream_iterator<std::int32_t>(numbers), std::istream_iterator<std::int32_t>());
  }
  return t;
}

// Experts of a layer are chosen by Zipf's law with the given exponent; which are popular changes every `drift` tokens:
// a tenth of the ranks are exchanged.
Trace made_up(double exponent, std::size_t drift, std::size_t tokens) {
  constexpr std::int32_t kLayers = 6;
  Trace t{kLayers, 64, {}};
  constexpr int kPerToken = 6;
  std::mt19937 random(3);
  std::vector<double> weights(64);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = std::pow(static_cast<double>(i + 1), -exponent);
  std::discrete_distribution<std::int32_t> rank(weights.begin(), weights.end());
  std::vector<std::vector<std::int32_t>> at(kLayers, std::vector<std::int32_t>(64));
  for (auto& ranks : at) {
    std::iota(ranks.begin(), ranks.end(), 0);
    std::shuffle(ranks.begin(), ranks.end(), random);
  }
  for (std::size_t i = 0; i < tokens; ++i) {
    std::vector<std::int32_t> token;
    for (std::int32_t l = 0; l < kLayers; ++l) {
      auto& ranks = at[static_cast<std::size_t>(l)];
      if (i > 0 && i % drift == 0)
        for (int n = 0; n < 3; ++n) std::swap(ranks[random() % 64], ranks[random() % 64]);
      std::vector<std::int32_t> chosen;
      while (chosen.size() < kPerToken) {
        const std::int32_t key = l * 64 + ranks[static_cast<std::size_t>(rank(random))];
        if (std::find(chosen.begin(), chosen.end(), key) == chosen.end()) chosen.push_back(key);
      }
      std::sort(chosen.begin(), chosen.end());
      token.insert(token.end(), chosen.begin(), chosen.end());
    }
    t.tokens.push_back(std::move(token));
  }
  return t;
}

// Share of hits over the second half of a trace.
double hit_rate(const Trace& trace, ExpertPolicy& policy, std::size_t slots) {
  std::vector<std::int32_t> held;
  std::int64_t hits = 0, asked = 0;
  for (std::size_t i = 0; i < trace.tokens.size(); ++i) {
    for (std::size_t begin = 0, end = 0; begin < trace.tokens[i].size(); begin = end) {
      const auto& keys = trace.tokens[i];
      std::vector<ExpertWant> wants;
      const std::int32_t layer = keys[begin] / trace.experts;
      for (end = begin; end < keys.size() && keys[end] / trace.experts == layer; ++end)
        wants.push_back({keys[end] % trace.experts, 1});
      policy.asked(layer, 1, wants);
      for (std::size_t k = begin; k < end; ++k) {
        const bool hit = std::find(held.begin(), held.end(), keys[k]) != held.end();
        if (i >= trace.tokens.size() / 2) {
          ++asked;
          hits += hit;
        }
        if (hit) continue;
        if (held.size() < slots) {
          held.push_back(keys[k]);
          continue;
        }
        auto wanted = [&](std::int32_t key) {
          return std::find(keys.begin() + static_cast<std::ptrdiff_t>(begin),
                           keys.begin() + static_cast<std::ptrdiff_t>(end),
                           key) != keys.begin() + static_cast<std::ptrdiff_t>(end);
        };
        auto victim = held.end();
        for (auto h = held.begin(); h != held.end(); ++h)
          if (!wanted(*h) && (victim == held.end() || policy.value(*h) < policy.value(*victim))) victim = h;
        if (victim != held.end()) *victim = keys[k];
      }
    }
  }
  return static_cast<double>(hits) / static_cast<double>(asked);
}

// How often each key was asked for in the first half: what a pinned set would be made from.
std::vector<std::int64_t> frequencies(const Trace& trace) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(trace.keys()));
  for (std::size_t i = 0; i < trace.tokens.size() / 2; ++i)
    for (const std::int32_t key : trace.tokens[i]) ++out[static_cast<std::size_t>(key)];
  return out;
}

struct Rates {
  double lru, pinned, chosen;
  std::vector<double> decayed;  // half-lives 1, 8, 64, 512
};
Rates compare(const Trace& trace, std::size_t slots, const std::string& label) {
  Rates r{};
  r.lru = hit_rate(trace, *make_lru(trace.counts()), slots);
  const std::size_t layer = trace.tokens[0].size() / static_cast<std::size_t>(trace.layers);
  r.pinned = hit_rate(
      trace,
      *make_pinned(trace.counts(), frequencies(trace), static_cast<std::int32_t>(slots > layer ? slots - layer : 0)),
      slots);
  r.chosen = hit_rate(trace, *make_likely_next(trace.counts()), slots);
  std::ostringstream line;
  line.precision(3);
  line << label << ", " << slots << " slots: lru " << r.lru << ", pinned " << r.pinned << ", default " << r.chosen
       << ", decayed";
  for (double half_life = 1; half_life <= 512; half_life *= 8) {
    r.decayed.push_back(hit_rate(trace, *make_decayed_lfu(trace.counts(), half_life), slots));
    line << ' ' << half_life << ':' << r.decayed.back();
  }
  std::cout << line.str() << '\n';
  return r;
}

TEST(ExpertPolicies, TheDefaultBeatsLruOnRecordedRouting) {
  const Trace trace = read_trace("nano.txt");
  ASSERT_GT(trace.tokens.size(), 300u);
  double sum_lru = 0, sum_chosen = 0;
  for (const std::size_t slots : {4, 6, 8, 10, 12, 14, 16}) {
    const Rates r = compare(trace, slots, "nano");
    EXPECT_GT(r.chosen, r.lru - 0.03) << slots;  // at ten, exactly one token's experts, LRU is hard to beat
    for (const double decayed : r.decayed) EXPECT_GT(r.chosen, decayed - 0.03) << slots;
    sum_lru += r.lru;
    sum_chosen += r.chosen;
  }
  EXPECT_GT(sum_chosen, sum_lru * 1.2);
}

TEST(ExpertPolicies, TheDefaultBeatsLruOnZipfWithDrift) {
  for (const double exponent : {0.6, 1.0})
    for (const std::size_t drift : {std::size_t{50}, std::size_t{400}}) {
      const Trace trace = made_up(exponent, drift, 400);
      for (const std::size_t slots : {18, 36, 72, 144}) {
        std::ostringstream label;
        label << "zipf " << exponent << " drift " << drift;
        const Rates r = compare(trace, slots, label.str());
        EXPECT_GT(r.chosen, r.lru) << label.str() << ", " << slots << " slots";
      }
    }
}

TEST(ExpertPolicies, LruKeepsNothingBelowOneTokensExperts) {
  Trace trace{4, 8, {}};
  for (int i = 0; i < 100; ++i) trace.tokens.push_back({0, 1, 8, 9, 16, 17, 24, 25});
  EXPECT_EQ(hit_rate(trace, *make_lru(trace.counts()), 6), 0);
  EXPECT_EQ(hit_rate(trace, *make_lru(trace.counts()), 8), 1);
  std::vector<std::int64_t> frequency(32);
  for (const std::int32_t key : {0, 1, 8, 9}) frequency[static_cast<std::size_t>(key)] = 1;
  EXPECT_EQ(hit_rate(trace, *make_pinned(trace.counts(), frequency, 4), 6), 0.5);
}

// One layer of `experts`; each call is a token.
void ask(ExpertPolicy& policy, std::vector<std::int32_t> experts, std::int64_t tokens = 1) {
  std::vector<ExpertWant> wants;
  for (const std::int32_t e : experts) wants.push_back({e, tokens});
  policy.asked(0, tokens, wants);
}

TEST(ExpertPolicies, OldUsesFade) {
  for (auto make : {+[] { return make_decayed_lfu({1, 8}, 10); }, +[] { return make_likely_next({1, 8}); }}) {
    const auto policy = make();
    for (int i = 0; i < 16; ++i) ask(*policy, {0, i % 2});
    EXPECT_GT(policy->value(0), policy->value(1));
    EXPECT_LT(policy->value(2), policy->value(1));  // never used
    for (int i = 0; i < 500; ++i) ask(*policy, {3});
    ask(*policy, {1});
    EXPECT_GT(policy->value(1), policy->value(0));
    for (int i = 0; i < 100'000; ++i) ask(*policy, {4});  // nothing overflows
    ask(*policy, {2});
    EXPECT_GT(policy->value(2), policy->value(1));
    EXPECT_GT(policy->value(4), policy->value(2));
    EXPECT_TRUE(std::isfinite(policy->value(0)));
  }
}

TEST(ExpertPolicies, ALongStepCountsAsItsTokens) {
  const auto policy = make_decayed_lfu({1, 4}, 64);
  std::vector<ExpertWant> wants{{0, 900}, {1, 100}};
  policy->asked(0, 1000, wants);
  EXPECT_NEAR(policy->value(0), 0.9, 1e-3);
  EXPECT_NEAR(policy->value(1), 0.1, 1e-3);
}

TEST(ExpertPolicies, RepetitionIsLearned) {
  const auto repeating = make_likely_next({1, 64}), spread = make_likely_next({1, 64});
  for (int i = 0; i < 600; ++i) ask(*repeating, {i / 10 % 64});          // each comes ten times in a row
  for (int i = 0; i < 600; ++i) ask(*spread, {i % 2 ? 0 : i % 63 + 1});  // one popular, the others once
  ask(*repeating, {9});
  EXPECT_GT(repeating->value(9), 0.5);
  ask(*spread, {9});
  EXPECT_LT(spread->value(9), spread->value(0));
}

}  // namespace
}  // namespace hadal
