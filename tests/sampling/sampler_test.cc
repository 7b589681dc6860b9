#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

namespace hadal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

Sampled take(const std::vector<float>& logits, const SamplingOptions& options, Draw draw = {}) {
  auto got = Sampler().sample(logits, options, draw);
  EXPECT_TRUE(got) << got.error().what;
  return got.value_or(Sampled{TokenId{-1}});
}

std::vector<float> log_of(std::vector<double> p) {
  std::vector<float> out;
  for (double x : p) out.push_back(static_cast<float>(std::log(x)));
  return out;
}

// The ids that can come out, found by many draws.
std::vector<int> support(const std::vector<float>& logits, const SamplingOptions& options) {
  std::vector<int> seen(logits.size(), 0);
  Sampler sampler;
  for (std::uint64_t i = 0; i < 4000; ++i)
    seen[static_cast<std::size_t>(to_int(sampler.sample(logits, options, {7, i, 0})->id))] = 1;
  std::vector<int> ids;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (seen[i]) ids.push_back(static_cast<int>(i));
  }
  return ids;
}

double chi_square(const std::vector<float>& logits, const SamplingOptions& options, const std::vector<double>& p,
                  int draws) {
  std::vector<int> count(p.size(), 0);
  Sampler sampler;
  for (int i = 0; i < draws; ++i) {
    ++count[static_cast<std::size_t>(
        to_int(sampler.sample(logits, options, {1234, static_cast<std::uint64_t>(i), 5})->id))];
  }
  double chi2 = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double want = p[i] * draws;
    if (want == 0) {
      EXPECT_EQ(count[i], 0) << i;
    } else {
      chi2 += (count[i] - want) * (count[i] - want) / want;
    }
  }
  return chi2;
}

TEST(Greedy, LargestLogitLowestIdOnTies) {
  SamplingOptions greedy{.temperature = 0};
  EXPECT_EQ(to_int(take({1, 5, 3, 5}, greedy).id), 1);
  EXPECT_EQ(to_int(take({-kInf, -3, -kInf}, greedy).id), 1);
  auto s = take(log_of({0.25, 0.75}), greedy);
  EXPECT_NEAR(s.raw_logprob, std::log(0.75), 1e-7);
  EXPECT_EQ(s.logprob, 0.0);
  EXPECT_EQ(s.kept, 1);
}

TEST(Sampler, FollowsTheDistribution) {
  const std::vector<double> p = {0.5, 0.25, 0.125, 0.0625, 0.0625};
  EXPECT_LT(chi_square(log_of(p), {}, p, 20000), 18.5);  // 4 degrees of freedom, p = 0.001
}

TEST(Sampler, TemperatureSharpens) {
  const std::vector<double> half = {0.64, 0.32, 0.04}, squared = {0.4096, 0.1024, 0.0016};
  double sum = 0;
  for (double x : squared) sum += x;
  std::vector<double> want;
  for (double x : squared) want.push_back(x / sum);
  SamplingOptions o{.temperature = 0.5};
  EXPECT_LT(chi_square(log_of(half), o, want, 20000), 13.9);  // 2 degrees of freedom
  auto s = take(log_of(half), o);
  EXPECT_NEAR(s.logprob, std::log(want[static_cast<std::size_t>(to_int(s.id))]), 1e-6);
  EXPECT_NEAR(s.raw_logprob, std::log(half[static_cast<std::size_t>(to_int(s.id))]), 1e-6);
}

TEST(Sampler, TopKRenormalises) {
  const auto logits = log_of({0.1, 0.4, 0.2, 0.3});
  EXPECT_LT(chi_square(logits, {.top_k = 2}, {0, 4 / 7.0, 0, 3 / 7.0}, 10000), 10.9);  // 1 degree of freedom
  EXPECT_EQ(support(logits, {.top_k = 9}), (std::vector<int>{0, 1, 2, 3}));
}

TEST(Sampler, TopKTiesKeepTheLowestIds) {
  EXPECT_EQ(support({2, 1, 1, 1}, {.top_k = 2}), (std::vector<int>{0, 1}));
  EXPECT_EQ(support({1, 1, 1, 2}, {.top_k = 3}), (std::vector<int>{0, 1, 3}));
}

// Powers of two are exact, so the sums meet the threshold exactly.
TEST(Sampler, TopPIncludesTheTokenThatReachesIt) {
  const float ln2 = 0;  // equal logits: probabilities 1/4 each, exactly
  const std::vector<float> quarter = {ln2, ln2, ln2, ln2};
  EXPECT_EQ(support(quarter, {.top_p = 0.25}), (std::vector<int>{0}));
  EXPECT_EQ(support(quarter, {.top_p = 0.2500001}), (std::vector<int>{0, 1}));
  EXPECT_EQ(support(quarter, {.top_p = 0.5}), (std::vector<int>{0, 1}));
  EXPECT_EQ(support(quarter, {.top_p = 0.75}), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(support(quarter, {.top_p = 1}), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(support(quarter, {.top_p = 1e-9}), (std::vector<int>{0}));
}

TEST(Sampler, TopPWorksOnWhatTopKLeft) {
  // After top-k 2 the shares are 4/7 and 3/7: 0.5 is reached by the first alone.
  EXPECT_EQ(support(log_of({0.1, 0.4, 0.2, 0.3}), {.top_p = 0.5, .top_k = 2}), (std::vector<int>{1}));
  EXPECT_EQ(support(log_of({0.1, 0.4, 0.2, 0.3}), {.top_p = 0.5}), (std::vector<int>{1, 3}));
}

TEST(Sampler, TopPOverALargeFlatVocabulary) {
  std::vector<float> flat(5000, 0.0f);
  flat[4999] = 1.0f;
  auto s = take(flat, {.top_p = 0.5});
  const double e = std::exp(1.0), total = 4999 + e;
  EXPECT_EQ(s.kept, 1 + static_cast<std::int64_t>(std::ceil(0.5 * total - e)));
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  const auto logits = log_of({0.5, 0.3, 0.15, 0.05});
  EXPECT_EQ(support(logits, {.min_p = 0.25}), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(support(logits, {.min_p = 1}), (std::vector<int>{0}));
}

TEST(Sampler, ForbiddenIdsNeverComeOut) {
  SamplingOptions o;
  o.forbidden = {{0, 2}, {3, 1000}};
  EXPECT_EQ(support({9, 9, 0, 9, 9}, o), (std::vector<int>{2}));
  o.temperature = 0;
  EXPECT_EQ(to_int(take({9, 9, 0, 9, 9}, o).id), 2);
  o.forbidden = {{0, 5}};
  EXPECT_FALSE(Sampler().sample(std::vector<float>{1, 2, 3, 4, 5}, o, {}));
}

TEST(Sampler, MinusInfinityNeverComesOut) {
  EXPECT_EQ(support({-kInf, 0, -kInf, 0}, {}), (std::vector<int>{1, 3}));
  EXPECT_FALSE(Sampler().sample(std::vector<float>{-kInf, -kInf}, {}, {}));
}

TEST(Sampler, BrokenLogitsAreNamed) {
  for (float bad : {kInf, std::nanf("")}) {
    auto got = Sampler().sample(std::vector<float>{0, 1, bad}, {.temperature = 0}, {});
    ASSERT_FALSE(got);
    EXPECT_NE(got.error().what.find("token 2"), std::string::npos) << got.error().what;
  }
}

// The draw alone decides: not what the sampler did before, nor what other threads do.
TEST(Sampler, DoesNotDependOnWhatElseRuns) {
  std::vector<float> logits(3000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(std::sin(static_cast<double>(i)) * 4);
  const SamplingOptions o{.temperature = 0.9, .top_p = 0.95, .top_k = 200, .min_p = 0.001};
  std::vector<std::int32_t> alone;
  for (std::uint64_t i = 0; i < 200; ++i) alone.push_back(to_int(take(logits, o, {99, i, 0}).id));

  std::vector<std::vector<std::int32_t>> got(3);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < got.size(); ++t) {
    threads.emplace_back([&, t] {
      Sampler sampler;  // reused, with other work in between, in the reverse order
      got[t].resize(200);
      for (std::uint64_t i = 200; i-- > 0;) {
        (void)sampler.sample(std::span(logits).first(10 + t), {.top_k = 3}, {i, i, i});
        got[t][i] = to_int(sampler.sample(logits, o, {99, i, 0})->id);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (auto& ids : got) EXPECT_EQ(ids, alone);
}

TEST(Sampler, StreamsAndSeedsDiffer) {
  const std::vector<float> flat(1000, 0.0f);
  int equal_stream = 0, equal_seed = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    equal_stream += take(flat, {}, {1, i, 0}).id == take(flat, {}, {1, i, 1}).id;
    equal_seed += take(flat, {}, {1, i, 0}).id == take(flat, {}, {2, i, 0}).id;
  }
  EXPECT_LT(equal_stream, 5);
  EXPECT_LT(equal_seed, 5);
}

TEST(RawLogprob, EqualsWhatSamplingReported) {
  std::vector<float> logits(777);
  for (std::size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(std::cos(static_cast<double>(i * i)) * 7);
  for (std::uint64_t i = 0; i < 50; ++i) {
    auto s = take(logits, {.temperature = 0.7, .top_p = 0.9}, {3, i, 0});
    EXPECT_EQ(*raw_logprob(logits, s.id), s.raw_logprob);  // bit for bit
  }
  EXPECT_FALSE(raw_logprob(logits, TokenId{777}));
  EXPECT_FALSE(raw_logprob(logits, TokenId{-1}));
}

TEST(CheckSampling, NamesTheField) {
  const auto what = [](const SamplingOptions& o) {
    return check_sampling(o) ? std::string() : check_sampling(o).error().what;
  };
  EXPECT_EQ(what({}), "");
  EXPECT_EQ(what({.temperature = 0}), "");
  EXPECT_NE(what({.temperature = -1}).find("temperature is -1"), std::string::npos);
  EXPECT_NE(what({.temperature = 1e-300}).find("temperature"), std::string::npos);
  EXPECT_NE(what({.temperature = NAN}).find("temperature"), std::string::npos);
  EXPECT_NE(what({.top_p = 0}).find("top_p is 0"), std::string::npos);
  EXPECT_NE(what({.top_p = 1.5}).find("top_p"), std::string::npos);
  EXPECT_NE(what({.top_k = -2}).find("top_k is -2"), std::string::npos);
  EXPECT_NE(what({.min_p = 2}).find("min_p is 2"), std::string::npos);
  SamplingOptions o;
  o.forbidden = {{5, 4}};
  EXPECT_NE(what(o).find("5..4"), std::string::npos);
}

TEST(IsStop, ComparesWithEveryId) {
  SamplingOptions o;
  o.stop_ids = {TokenId{1}, TokenId{9}};
  EXPECT_TRUE(is_stop(o, TokenId{9}));
  EXPECT_FALSE(is_stop(o, TokenId{2}));
}

}  // namespace
}  // namespace hadal
