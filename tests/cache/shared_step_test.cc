// Steps that several sequences share: each gets the bits it would get alone.
#include <gtest/gtest.h>

#include <random>

#include "cache/sequence.h"
#include "support/tiny_model.h"

namespace hadal {
namespace {

using test::bits_equal;
using test::random_ids;
using test::tiny_model;

Sequence fresh(const std::shared_ptr<Model>& model) {
  auto s = Sequence::create(model);
  EXPECT_TRUE(s.has_value());
  return std::move(*s);
}

std::span<const TokenId> cut(std::span<const TokenId> ids, Position from, std::int64_t count) {
  return ids.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(count));
}

class SharedStep : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<Model> model_ = tiny_model(std::string_view(GetParam()) == "trained");
  std::vector<float> logits() const {
    return std::vector<float>(static_cast<std::size_t>(model_->config().vocab_size));
  }
};
INSTANTIATE_TEST_SUITE_P(Numerics, SharedStep, testing::Values("exact", "trained"),
                         [](const auto& p) { return p.param; });

TEST_P(SharedStep, MixedPiecesOfManySequencesGiveTheBitsOfSoloRuns) {
  constexpr std::size_t kSequences = 5;
  std::mt19937 random(11);
  std::vector<Sequence> together;
  std::vector<std::vector<TokenId>> ids;
  std::vector<std::vector<std::vector<float>>> seen(kSequences);  // by sequence: logits after every part
  std::vector<std::vector<std::int64_t>> parts(kSequences);
  for (std::size_t i = 0; i < kSequences; ++i) {
    together.push_back(fresh(model_));
    ids.push_back(random_ids(*model_, 150 + 90 * static_cast<std::int64_t>(i), static_cast<unsigned>(20 + i)));
  }
  for (bool left = true; left;) {
    left = false;
    std::vector<Sequence::Part> step;
    std::vector<std::size_t> who;
    std::vector<std::vector<float>> out;
    out.reserve(kSequences);
    for (std::size_t i = 0; i < kSequences; ++i) {
      const Position at = together[i].length();
      const auto rest = static_cast<std::int64_t>(ids[i].size()) - at;
      if (rest == 0) continue;
      left = true;
      if (random() % 4 == 0) continue;  // sits this step out
      const std::int64_t n =
          std::min<std::int64_t>(rest, random() % 2 ? 1 : 1 + static_cast<std::int64_t>(random() % 70));
      out.push_back(logits());
      step.push_back({&together[i], cut(ids[i], at, n), out.back().data()});
      who.push_back(i);
      parts[i].push_back(n);
    }
    auto fed = Sequence::feed_together(step);
    ASSERT_TRUE(fed.has_value()) << fed.error().what;
    for (std::size_t j = 0; j < who.size(); ++j) seen[who[j]].push_back(out[j]);
  }
  for (std::size_t i = 0; i < kSequences; ++i) {
    Sequence alone = fresh(model_);
    for (std::size_t j = 0; j < parts[i].size(); ++j) {
      std::vector<float> expected = logits();
      FeedOutputs outputs;
      outputs.last_logits = expected.data();
      ASSERT_TRUE(alone.feed(cut(ids[i], alone.length(), parts[i][j]), outputs).has_value());
      ASSERT_TRUE(bits_equal(seen[i][j], expected)) << "sequence " << i << ", part " << j;
    }
  }
}

TEST_P(SharedStep, ForksOfOnePastCanShareAStep) {
  auto ids = random_ids(*model_, 260, 5);
  Sequence trunk = fresh(model_);
  ASSERT_TRUE(trunk.feed(cut(ids, 0, 200)).has_value());
  auto a = trunk.fork(), b = trunk.fork();
  ASSERT_TRUE(a.has_value() && b.has_value());
  std::vector<float> la = logits(), lb = logits(), alone = logits();
  const Sequence::Part parts[] = {{&*a, cut(ids, 200, 60), la.data()}, {&*b, cut(ids, 200, 1), lb.data()}};
  ASSERT_TRUE(Sequence::feed_together(parts).has_value());
  FeedOutputs outputs;
  outputs.last_logits = alone.data();
  ASSERT_TRUE(trunk.feed(cut(ids, 200, 1), outputs).has_value());
  EXPECT_TRUE(bits_equal(lb, alone));
  ASSERT_TRUE(trunk.feed(cut(ids, 201, 59), outputs).has_value());
  EXPECT_TRUE(bits_equal(la, alone));
}

TEST_P(SharedStep, ABadPartLeavesEverySequenceAsItWas) {
  auto ids = random_ids(*model_, 40, 6);
  Sequence good = fresh(model_), bad = fresh(model_);
  const TokenId outside[] = {TokenId{static_cast<std::int32_t>(model_->config().vocab_size)}};
  const Sequence::Part parts[] = {{&good, cut(ids, 0, 40), nullptr}, {&bad, outside, nullptr}};
  auto fed = Sequence::feed_together(parts);
  ASSERT_FALSE(fed.has_value());
  EXPECT_EQ(fed.error().code, ErrorCode::kUsage);
  EXPECT_EQ(good.length(), 0);
  const Sequence::Part twice[] = {{&good, cut(ids, 0, 4), nullptr}, {&good, cut(ids, 4, 4), nullptr}};
  EXPECT_FALSE(Sequence::feed_together(twice).has_value());
  std::vector<float> a = logits(), b = logits();
  FeedOutputs outputs;
  outputs.last_logits = a.data();
  ASSERT_TRUE(good.feed(ids, outputs).has_value());
  outputs.last_logits = b.data();
  ASSERT_TRUE(bad.feed(ids, outputs).has_value());
  EXPECT_TRUE(bits_equal(a, b));
}

}  // namespace
}  // namespace hadal
