// What the store gives back equals an uninterrupted feed, bit for bit; what it finds equals a naive search.
#include "cache/prefix_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "support/tiny_model.h"

namespace hadal {
namespace {

using test::bits_equal;
using test::random_ids;
using test::tiny_model;

constexpr std::int64_t kPlenty = std::int64_t{1} << 30;

using Ids = std::vector<TokenId>;

Ids join(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Ids first(const Ids& ids, std::size_t count) { return {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count)}; }

class PrefixStoreTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { model_ = tiny_model(true); }
  static void TearDownTestSuite() { model_.reset(); }

  static std::unique_ptr<PrefixStore> open(std::int64_t memory = kPlenty) {
    auto store = PrefixStore::open(model_, {.memory_bytes = memory});
    EXPECT_TRUE(store.has_value());
    return std::move(*store);
  }
  static Sequence fed(std::span<const TokenId> ids) {
    auto s = Sequence::create(model_);
    EXPECT_TRUE(s->feed(ids).has_value());
    return std::move(*s);
  }
  static std::vector<float> last_logits(Sequence& s, std::span<const TokenId> rest) {
    std::vector<float> out(static_cast<std::size_t>(model_->config().vocab_size));
    FeedOutputs wanted;
    wanted.last_logits = out.data();
    auto done = s.feed(rest, wanted);
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().what);
    return out;
  }
  // Looks `ids` up, goes on a little, and compares with feeding everything.
  static PrefixHit check(PrefixStore& store, const Ids& ids, const std::string& what) {
    auto hit = store.lookup(ids);
    EXPECT_TRUE(hit.has_value()) << what;
    EXPECT_LT(hit->reused, static_cast<Position>(ids.size())) << what;
    EXPECT_TRUE(std::equal(ids.begin(), ids.begin() + hit->reused, hit->sequence.tokens().begin())) << what;
    auto fork = hit->sequence.fork();
    EXPECT_TRUE(fork.has_value());
    const auto reused = static_cast<std::size_t>(hit->reused);
    const Ids some = first(ids, std::min(ids.size(), reused + 24));
    const auto got = last_logits(*fork, std::span(some).subspan(reused));
    static std::map<Ids, std::vector<float>> known;  // feeding everything takes long: once for each line
    auto expected = known.find(some);
    if (expected == known.end()) {
      Sequence straight = fed({});
      expected = known.emplace(some, last_logits(straight, some)).first;
    }
    EXPECT_TRUE(bits_equal(got, expected->second)) << what;
    return std::move(*hit);
  }
  static std::shared_ptr<Model> model_;
};
std::shared_ptr<Model> PrefixStoreTest::model_;

TEST_F(PrefixStoreTest, GoesOnAtAKeptBoundaryWithTheSameBits) {
  const Ids ids = random_ids(*model_, 2100, 1);
  Sequence s = fed({});
  std::size_t at = 0;
  // Inside a page, at multiples of 4 and 128, at and around page borders.
  for (std::size_t cut : {1, 3, 4, 127, 128, 129, 1023, 1024, 1025, 1152, 2048}) {
    auto store = open();
    ASSERT_TRUE(s.feed(std::span(ids).subspan(at, cut - at)).has_value());
    at = cut;
    ASSERT_TRUE(store->keep(s).has_value());
    const auto hit = check(*store, ids, "cut " + std::to_string(cut));
    EXPECT_EQ(hit.reused, static_cast<Position>(cut));
    EXPECT_EQ(hit.refill, 0);
  }
}

TEST_F(PrefixStoreTest, KeptSequencesGoOnUndisturbedAndSoDoTheirCopies) {
  const Ids common = random_ids(*model_, 1300, 2);
  auto store = open();
  Sequence s = fed(common);
  ASSERT_TRUE(store->keep(s).has_value());
  // Three lines that write into the same half-full page.
  for (unsigned seed : {3, 4, 5}) {
    const Ids line = join(common, random_ids(*model_, 150, seed));
    const auto hit = check(*store, line, "line");
    EXPECT_EQ(hit.reused, 1300);
  }
  const Ids rest = random_ids(*model_, 90, 6);
  Sequence straight = fed({});
  EXPECT_TRUE(bits_equal(last_logits(s, rest), last_logits(straight, join(common, rest))));
}

TEST_F(PrefixStoreTest, NeverGivesAllOfThePrompt) {
  const Ids ids = random_ids(*model_, 300, 7);
  auto store = open();
  Sequence s = fed(std::span(ids).first(250));
  ASSERT_TRUE(store->keep(s).has_value());
  ASSERT_TRUE(s.feed(std::span(ids).subspan(250)).has_value());
  ASSERT_TRUE(store->keep(s).has_value());
  EXPECT_EQ(check(*store, ids, "all of it").reused, 250);
  EXPECT_EQ(check(*store, first(ids, 1), "one token").reused, 0);
  EXPECT_FALSE(store->lookup({}).has_value());
}

TEST_F(PrefixStoreTest, BetweenBoundariesWindowsAreRefilled) {
  const Ids ids = random_ids(*model_, 3000, 8), other = random_ids(*model_, 40, 9);
  auto store = open();
  Sequence s = fed(ids);
  ASSERT_TRUE(store->keep(s).has_value());
  for (std::size_t at : {900, 1024, 1027, 2048, 2500, 2999}) {
    const auto hit = check(*store, join(first(ids, at), other), "edited at " + std::to_string(at));
    EXPECT_GE(hit.reused, static_cast<Position>(at));
    EXPECT_LE(hit.reused, static_cast<Position>(at) + 2);  // a random id may agree by chance
    EXPECT_GT(hit.refill, 0);
  }
  // Refilling in pieces is the same.
  const Ids edited = join(first(ids, 2500), other);
  auto hit = store->lookup(edited);
  ASSERT_TRUE(hit.has_value());
  Position left = hit->refill;
  while (left > 0) {
    ASSERT_FALSE(store->keep(hit->sequence).has_value());
    ASSERT_TRUE(hit->sequence.refill_step(100).has_value());
    EXPECT_EQ(hit->sequence.refill_left(), std::max<Position>(0, left - 100));
    left = hit->sequence.refill_left();
  }
  Sequence straight = fed({});
  EXPECT_TRUE(bits_equal(last_logits(hit->sequence, std::span(edited).subspan(static_cast<std::size_t>(hit->reused))),
                         last_logits(straight, edited)));
  // Where refilling would feed as much as starting again, it is not done.
  EXPECT_EQ(check(*store, join(first(ids, 150), other), "edited early").refill, 0);
}

TEST_F(PrefixStoreTest, SharedPagesCountOnce) {
  const Ids common = random_ids(*model_, 2048, 10);
  auto store = open();
  const CacheLayout layout = CacheLayout::make(model_->config(), model_->format());
  for (unsigned seed = 0; seed < 4; ++seed) {
    Sequence s = fed(join(common, random_ids(*model_, 10, 20 + seed)));
    ASSERT_TRUE(store->keep(s).has_value());
  }
  store->flush();
  const PrefixStats stats = store->stats();
  EXPECT_EQ(stats.page_bytes, 2 * layout.page_bytes);
  EXPECT_EQ(stats.boundaries, 4);
  EXPECT_GE(stats.tail_bytes, 4 * layout.page_bytes);
  EXPECT_EQ(stats.in_use_bytes, 0);
}

TEST_F(PrefixStoreTest, FindsWhatANaiveSearchFinds) {
  // Short lines over a few shared beginnings; few ids, so that lines part at any place.
  std::mt19937 random(11);
  const auto line = [&] {
    Ids ids(random() % 40 + 1);
    for (TokenId& id : ids) id = TokenId{static_cast<std::int32_t>(random() % 2)};
    return ids;
  };
  auto store = open();
  std::vector<Ids> kept;
  for (int round = 0; round < 60; ++round) {
    const Ids ids = line();
    Sequence s = fed(ids);
    ASSERT_TRUE(store->keep(s, round % 2 == 0).has_value());
    kept.push_back(ids);
    const Ids asked = line();
    Position longest = 0, agree = 0;
    for (const Ids& k : kept) {
      const auto same = std::mismatch(k.begin(), k.end(), asked.begin(), asked.end()).first - k.begin();
      agree = std::max<Position>(agree, same);
      if (same == static_cast<std::ptrdiff_t>(k.size()) && k.size() < asked.size())
        longest = std::max(longest, static_cast<Position>(k.size()));
    }
    auto hit = store->lookup(asked);
    ASSERT_TRUE(hit.has_value());
    EXPECT_EQ(hit->reused, longest);
    const PrefixMiss miss = store->explain_miss(asked);
    EXPECT_EQ(miss.agree, agree);
    if (!miss.asked.empty()) {
      EXPECT_EQ(miss.asked.front(), asked[static_cast<std::size_t>(agree)]);
      EXPECT_TRUE(miss.kept.empty() || miss.asked.front() != miss.kept.front());
    }
  }
}

TEST_F(PrefixStoreTest, EvictionKeepsTheBudgetAndHarmsNobody) {
  std::mt19937 random(12);
  const CacheLayout layout = CacheLayout::make(model_->config(), model_->format());
  const std::int64_t budget = 5 * layout.page_bytes + 8 * layout.state_bytes;
  auto store = open(budget);
  const Ids common = random_ids(*model_, 1200, 13);
  struct Live {
    Sequence sequence;
    Ids ids;
  };
  std::vector<Live> live;
  for (int round = 0; round < 24; ++round) {
    const Ids ids =
        join(first(common, random() % common.size()), random_ids(*model_, 50 + random() % 900, 100 + round));
    auto hit = store->lookup(ids);
    ASSERT_TRUE(hit.has_value());
    ASSERT_TRUE(hit->sequence.feed(std::span(ids).subspan(static_cast<std::size_t>(hit->reused))).has_value());
    ASSERT_TRUE(store->keep(hit->sequence, round % 3 != 0).has_value());
    if (live.size() < 4)
      live.push_back({std::move(hit->sequence), ids});
    else if (round % 2)
      live[random() % 4] = {std::move(hit->sequence), ids};
    const PrefixStats stats = store->stats();
    EXPECT_LE(stats.memory_bytes() - stats.in_use_bytes, budget);
  }
  EXPECT_GT(store->stats().evictions, 0);
  const Ids rest = random_ids(*model_, 20, 14);
  for (Live& l : live) {
    Sequence straight = fed({});
    EXPECT_TRUE(bits_equal(last_logits(l.sequence, rest), last_logits(straight, join(l.ids, rest))));
  }
}

TEST_F(PrefixStoreTest, InnerBoundariesGoBeforeEnds) {
  const Ids ids = random_ids(*model_, 600, 15);
  const CacheLayout layout = CacheLayout::make(model_->config(), model_->format());
  auto store = open(layout.page_bytes + 3 * layout.state_bytes + 4096);
  Sequence s = fed({});
  for (std::size_t at = 0; at < 600; at += 100) {
    ASSERT_TRUE(s.feed(std::span(ids).subspan(at, 100)).has_value());
    ASSERT_TRUE(store->keep(s, at + 100 != 300).has_value());
  }
  s = fed({});
  ASSERT_TRUE(store->keep(fed(first(ids, 1))).has_value());  // another turn, with nothing in use any more
  EXPECT_GT(store->stats().evictions, 0);
  EXPECT_EQ(check(*store, join(ids, ids), "the end stays").reused, 600);
  EXPECT_NE(check(*store, join(first(ids, 300), ids), "between messages goes").reused, 300);
}

TEST_F(PrefixStoreTest, RefusesWhatIsNotItsOwn) {
  auto store = open();
  auto other = Sequence::create(tiny_model(false));
  const Ids ids = random_ids(*model_, 10, 16);
  ASSERT_TRUE(other->feed(ids).has_value());
  const auto kept = store->keep(*other);
  ASSERT_FALSE(kept.has_value());
  EXPECT_EQ(kept.error().code, ErrorCode::kUsage);
  auto with_mtp = Sequence::create(model_, true);
  ASSERT_TRUE(with_mtp->feed(ids).has_value());
  EXPECT_FALSE(store->keep(*with_mtp).has_value());
  EXPECT_FALSE(PrefixStore::open(model_, {.memory_bytes = -1}).has_value());
}

TEST_F(PrefixStoreTest, TheMtpBlockStaysInStep) {
  const Ids ids = random_ids(*model_, 1300, 17);
  auto store = PrefixStore::open(model_, {.with_mtp = true, .memory_bytes = kPlenty});
  ASSERT_TRUE(store.has_value());
  const auto vocab = static_cast<std::size_t>(model_->config().vocab_size);
  const auto drafts = [&](Sequence& s, std::span<const TokenId> rest) {
    std::vector<float> rows(rest.size() * vocab);
    FeedOutputs out;
    out.mtp_logits = rows.data();
    EXPECT_TRUE(s.feed(rest, out).has_value());
    return std::vector<float>(rows.end() - static_cast<std::ptrdiff_t>(vocab), rows.end());
  };
  auto straight = Sequence::create(model_, true);
  ASSERT_TRUE(straight->feed(std::span(ids).first(1280)).has_value());
  ASSERT_TRUE((*store)->keep(*straight).has_value());
  const auto expected = drafts(*straight, std::span(ids).subspan(1280));
  auto hit = (*store)->lookup(ids);
  ASSERT_TRUE(hit.has_value());
  ASSERT_EQ(hit->reused, 1280);
  EXPECT_TRUE(bits_equal(drafts(hit->sequence, std::span(ids).subspan(1280)), expected));
}

}  // namespace
}  // namespace hadal
