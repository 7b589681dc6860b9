// The promise of src/cache/sequence.h: same tokens, same bits, whatever cuts, forks, rewinds, saves and restores lie
// between.
#include "cache/sequence.h"

#include <gtest/gtest.h>

#include <random>

#include "support/tiny_model.h"

namespace hadal {
namespace {

using test::bits_equal;
using test::random_ids;
using test::tiny_model;

std::vector<float> feed_all(Sequence& s, std::span<const TokenId> ids, std::int64_t piece) {
  std::vector<float> logits(static_cast<std::size_t>(s.model()->config().vocab_size));
  while (!ids.empty()) {
    auto part = ids.first(std::min<std::size_t>(static_cast<std::size_t>(piece), ids.size()));
    FeedOutputs out;
    out.last_logits = logits.data();
    auto fed = s.feed(part, out);
    EXPECT_TRUE(fed.has_value()) << (fed ? "" : fed.error().what);
    ids = ids.subspan(part.size());
  }
  return logits;
}

Sequence fresh(const std::shared_ptr<Model>& model, bool mtp = false) {
  auto s = Sequence::create(model, mtp);
  EXPECT_TRUE(s.has_value());
  return std::move(*s);
}

class SequenceTest : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<Model> model_ = tiny_model(std::string_view(GetParam()) == "trained");
};
INSTANTIATE_TEST_SUITE_P(Numerics, SequenceTest, testing::Values("exact", "trained"),
                         [](const auto& p) { return p.param; });

TEST_P(SequenceTest, PiecesOfAnySizeGiveTheSameBits) {
  auto ids = random_ids(*model_, 300, 1);
  Sequence whole = fresh(model_);
  auto expected = feed_all(whole, ids, 300);
  for (std::int64_t piece : {1, 7, 64, 130}) {
    Sequence s = fresh(model_);
    EXPECT_TRUE(bits_equal(feed_all(s, ids, piece), expected)) << "piece " << piece;
  }
}

TEST_P(SequenceTest, RewindThenFeedEqualsFeed) {
  // Ring wraps (window), multiples of 4 and 128, the page border, and odd places between.
  auto ids = random_ids(*model_, 1300, 2);
  // Feeding the rest brings the same sequence back to its full length, so each rewind also starts where others ended.
  Sequence s = fresh(model_);
  auto expected = feed_all(s, ids, 512);
  for (Position to : {0, 1, 3, 4, 5, 8, 31, 64, 127, 128, 129, 255, 256, 1023, 1024, 1025, 1152, 1299}) {
    ASSERT_EQ(s.length(), static_cast<Position>(ids.size()));
    auto rewound = s.rewind(to);
    ASSERT_TRUE(rewound.has_value()) << rewound.error().what;
    ASSERT_EQ(s.length(), to);
    auto rest = std::span<const TokenId>(ids).subspan(static_cast<std::size_t>(to));
    EXPECT_TRUE(bits_equal(feed_all(s, rest, 512), expected)) << "rewound to " << to;
  }
}

TEST_P(SequenceTest, RewindOntoOtherTokensEqualsAFreshSequence) {
  auto ids = random_ids(*model_, 700, 3), other = random_ids(*model_, 260, 4);
  for (Position to : {5, 127, 384, 641}) {
    Sequence s = fresh(model_);
    feed_all(s, ids, 256);
    ASSERT_TRUE(s.rewind(to).has_value());
    auto got = feed_all(s, other, 37);
    std::vector<TokenId> all(ids.begin(), ids.begin() + to);
    all.insert(all.end(), other.begin(), other.end());
    Sequence f = fresh(model_);
    EXPECT_TRUE(bits_equal(got, feed_all(f, all, 256))) << "rewound to " << to;
  }
}

TEST_P(SequenceTest, ForksDoNotSeeEachOther) {
  auto ids = random_ids(*model_, 1100, 5), left = random_ids(*model_, 200, 6), right = random_ids(*model_, 200, 7);
  Sequence a = fresh(model_);
  feed_all(a, ids, 512);
  auto b = a.fork();
  ASSERT_TRUE(b.has_value());
  // Interleaved, so that a shared half-full page would be overwritten by the other side.
  std::vector<float> la, lb;
  for (std::size_t i = 0; i < 200; i += 20) {
    la = feed_all(a, std::span<const TokenId>(left).subspan(i, 20), 20);
    lb = feed_all(*b, std::span<const TokenId>(right).subspan(i, 20), 20);
  }
  for (auto [tail, got] : {std::pair{&left, &la}, {&right, &lb}}) {
    std::vector<TokenId> all(ids);
    all.insert(all.end(), tail->begin(), tail->end());
    Sequence f = fresh(model_);
    EXPECT_TRUE(bits_equal(*got, feed_all(f, all, 512)));
  }
}

TEST_P(SequenceTest, MtpStaysInStepThroughRewind) {
  auto ids = random_ids(*model_, 420, 8);
  auto vocab = static_cast<std::size_t>(model_->config().vocab_size);
  auto last_draft = [&](Sequence& s, std::span<const TokenId> rest) {
    std::vector<float> rows(rest.size() * vocab);
    FeedOutputs out;
    out.mtp_logits = rows.data();
    EXPECT_TRUE(s.feed(rest, out).has_value());
    return std::vector<float>(rows.end() - static_cast<std::ptrdiff_t>(vocab), rows.end());
  };
  std::span<const TokenId> all(ids);
  Sequence straight = fresh(model_, true);
  feed_all(straight, all.first(400), 400);
  auto expected = last_draft(straight, all.subspan(400));
  Sequence s = fresh(model_, true);
  feed_all(s, ids, 64);
  ASSERT_TRUE(s.rewind(390).has_value());
  feed_all(s, all.subspan(390, 10), 3);
  EXPECT_TRUE(bits_equal(last_draft(s, all.subspan(400)), expected));
}

TEST_P(SequenceTest, RefusesBadIdsAndLeavesTheSequenceAlone) {
  auto ids = random_ids(*model_, 50, 9);
  Sequence s = fresh(model_);
  feed_all(s, std::span<const TokenId>(ids).first(40), 40);
  TokenId bad[] = {TokenId{1}, TokenId{static_cast<std::int32_t>(model_->config().vocab_size)}};
  auto fed = s.feed(bad);
  ASSERT_FALSE(fed.has_value());
  EXPECT_EQ(fed.error().code, ErrorCode::kUsage);
  EXPECT_NE(fed.error().what.find("position 41"), std::string::npos) << fed.error().what;
  Sequence f = fresh(model_);
  EXPECT_TRUE(bits_equal(feed_all(s, std::span<const TokenId>(ids).subspan(40), 10), feed_all(f, ids, 50)));
  EXPECT_FALSE(s.rewind(51).has_value());
  EXPECT_FALSE(s.rewind(-1).has_value());
}

}  // namespace
}  // namespace hadal
