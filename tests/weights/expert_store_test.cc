#include "weights/expert_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "support/tiny_checkpoint.h"
#include "weights/checkpoint.h"

namespace hadal {
namespace {

using testing::HasSubstr;

test::TinyShape many_experts(test::TinyShape shape = test::tiny_flash()) {
  shape.n_routed_experts = 12;
  return shape;
}

bool same_matrix(const PackedMatrix& a, const PackedMatrix& b) {
  const auto scales = static_cast<std::size_t>(a.tile_count() * a.scale_blocks()) * sizeof(float);
  return a.encoding == b.encoding && a.rows == b.rows && a.cols == b.cols &&
         std::memcmp(a.tiles, b.tiles, static_cast<std::size_t>(a.bytes())) == 0 &&
         (a.encoding != Encoding::kFp8 || std::memcmp(a.scales, b.scales, scales) == 0);
}
bool same_expert(const ExpertWeights& a, const ExpertWeights& b) {
  return same_matrix(a.w1, b.w1) && same_matrix(a.w3, b.w3) && same_matrix(a.w2, b.w2);
}

// A queue that fails, cuts short or holds back some of its reads.
class BadQueue final : public ReadQueue {
 public:
  struct Faults {
    std::int64_t fail_from = INT64_MAX;  // reads of this number and later end in `result`
    std::int64_t result = -EIO;
    unsigned shuffle = 0;  // not 0: finished reads come in an order drawn from this seed
  };
  explicit BadQueue(std::shared_ptr<Faults> faults) : faults_(std::move(faults)), random_(faults_->shuffle) {}
  void start(const RawRead& read) override {
    if (number_++ >= faults_->fail_from)
      done_.push_back({read.slot, faults_->result});
    else
      real_->start(read);
  }
  std::optional<RawDone> finished(bool wait) override {
    if (faults_->shuffle == 0 && done_.empty()) return real_->finished(wait);
    while (const auto done = real_->finished(wait || !done_.empty())) done_.push_back(*done);
    if (done_.empty()) return std::nullopt;
    std::swap(done_[random_() % done_.size()], done_.back());
    const RawDone done = done_.back();
    done_.pop_back();
    return done;
  }
  const char* name() const override { return "bad"; }

 private:
  std::shared_ptr<Faults> faults_;
  std::mt19937 random_;
  std::int64_t number_ = 0;
  std::vector<RawDone> done_;
  std::unique_ptr<ReadQueue> real_ = make_thread_queue(8);
};

class ExpertStores : public testing::Test {
 protected:
  void write(test::TinyCheckpoint tiny) {
    ASSERT_TRUE(tiny.write(folder_.path()));
    auto opened = Checkpoint::open(folder_.path());
    ASSERT_TRUE(opened) << opened.error().what;
    checkpoint_ = *opened;
    layers_ = static_cast<std::int32_t>(checkpoint_->config().num_hidden_layers + (checkpoint_->has_mtp() ? 1 : 0));
    experts_ = static_cast<std::int32_t>(checkpoint_->config().n_routed_experts);
  }
  void write(const test::TinyShape& shape) { write(test::TinyCheckpoint::generate(shape)); }
  ModelWeights& loaded() {
    if (loaded_.layers.empty()) loaded_ = load_weights(checkpoint_).value();
    return loaded_;
  }
  const ExpertWeights& want(std::int32_t layer, std::int32_t expert) {
    ModelWeights& w = loaded();
    const auto l = static_cast<std::size_t>(layer);
    return (l < w.layers.size() ? w.layers[l].ffn : w.mtp->block.ffn).experts[static_cast<std::size_t>(expert)];
  }
  Result<std::unique_ptr<ExpertStore>> open(std::int64_t slots,
                                            ReaderOptions reader = {ReadMethod::kThreads, 8, true}) {
    return ExpertStore::open(checkpoint_, {0, slots, reader});
  }
  Result<std::unique_ptr<ExpertStore>> open(std::int64_t slots, std::shared_ptr<BadQueue::Faults> faults) {
    return ExpertStore::open(checkpoint_, {0, slots, {}},
                             std::make_unique<AsyncReader>(std::make_unique<BadQueue>(std::move(faults)), 8, true),
                             nullptr);
  }

  // Asks for a layer's experts in windows of up to `window`, compares each with the loaded one.
  Status ask(ExpertStore& store, std::int32_t layer, const std::vector<std::int32_t>& experts, std::size_t window) {
    std::vector<ExpertWant> wants;
    for (const std::int32_t e : experts) wants.push_back({e, 1});
    store.begin_layer(layer, wants);
    std::set<std::int64_t> given;
    for (std::size_t begin = 0; begin < wants.size(); begin += window) {
      const std::size_t end = std::min(begin + window, wants.size());
      while (given.size() < end) {
        const auto ready = HADAL_TRY(store.ready(pool_, static_cast<std::int64_t>(end)));
        EXPECT_FALSE(ready.empty());
        if (ready.empty()) return {};
        for (const ExpertStore::Ready& r : ready) {
          EXPECT_TRUE(given.insert(r.want).second) << "given twice";
          EXPECT_LT(r.want, static_cast<std::int64_t>(end));
          EXPECT_TRUE(same_expert(*r.weights, want(layer, experts[static_cast<std::size_t>(r.want)])))
              << "layer " << layer << " expert " << experts[static_cast<std::size_t>(r.want)];
        }
      }
    }
    return {};
  }

  // Some of the experts, ascending.
  std::vector<std::int32_t> draw(std::mt19937& random, std::size_t count) const {
    std::vector<std::int32_t> all(static_cast<std::size_t>(experts_));
    for (std::int32_t e = 0; e < experts_; ++e) all[static_cast<std::size_t>(e)] = e;
    std::shuffle(all.begin(), all.end(), random);
    all.resize(count);
    std::sort(all.begin(), all.end());
    return all;
  }

  // Random layers, wants, windows and prefetches; everything given has the right bits.
  void stress(ExpertStore& store, unsigned seed, int rounds) {
    std::mt19937 random(seed);
    for (int round = 0; round < rounds; ++round) {
      store.begin_step(1);
      for (std::int32_t layer = 0; layer < layers_; ++layer) {
        if (random() % 2 == 0)
          store.prefetch((layer + 1) % layers_, draw(random, 1 + random() % static_cast<unsigned>(experts_)));
        const auto experts = draw(random, 1 + random() % static_cast<unsigned>(experts_));
        const auto asked = ask(store, layer, experts, 1 + random() % experts.size());
        ASSERT_TRUE(asked) << asked.error().what;
        check_invariants(store);
      }
    }
  }
  void check_invariants(const ExpertStore& store) const {
    std::int64_t resident = 0;
    for (std::int32_t l = 0; l < layers_; ++l)
      for (std::int32_t e = 0; e < experts_; ++e) resident += store.resident(l, e);
    EXPECT_LE(resident, store.slots());
  }

  test::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::int32_t layers_ = 0, experts_ = 0;
  ModelWeights loaded_;
  ThreadPool pool_{2};
};

TEST_F(ExpertStores, GiveTheBitsOfTheLoaderForAnyNumberOfSlots) {
  write(many_experts());
  for (const std::int64_t slots : {2, 3, 5, 12, 60})
    for (const ReadMethod method : {ReadMethod::kAuto, ReadMethod::kThreads}) {
      auto store = open(slots, {method, 4, slots != 3});
      ASSERT_TRUE(store) << store.error().what;
      stress(**store, static_cast<unsigned>(slots), 6);
    }
}

TEST_F(ExpertStores, GiveTheBitsOfTheLoaderWhateverArrivesFirst) {
  write(many_experts());
  for (unsigned seed = 1; seed <= 6; ++seed) {
    auto faults = std::make_shared<BadQueue::Faults>();
    faults->shuffle = seed;
    auto store = open(2 + seed, faults);
    ASSERT_TRUE(store) << store.error().what;
    stress(**store, seed, 4);
  }
}

TEST_F(ExpertStores, ReadFp8ExpertsAndOddSizesAndSeveralShards) {
  test::TinyShape odd = test::tiny_odd();
  test::TinyShape base = many_experts(test::tiny_base());
  base.shards = 3;
  for (const test::TinyShape& shape : {odd, base, many_experts(test::tiny_pro())}) {
    test::TemporaryFolder fresh;
    ASSERT_TRUE(test::TinyCheckpoint::generate(shape).write(fresh.path()));
    checkpoint_ = Checkpoint::open(fresh.path()).value();
    loaded_ = {};
    layers_ = static_cast<std::int32_t>(checkpoint_->config().num_hidden_layers + (checkpoint_->has_mtp() ? 1 : 0));
    experts_ = static_cast<std::int32_t>(checkpoint_->config().n_routed_experts);
    auto store = open(4);
    ASSERT_TRUE(store) << store.error().what;
    stress(**store, 3, 2);
  }
}

TEST_F(ExpertStores, CountHitsMissesAndBytes) {
  write(many_experts());
  auto store = open(8).value();
  store->begin_step(1);
  ASSERT_TRUE(ask(*store, 0, {1, 4, 5}, 3));
  EXPECT_EQ(store->stats().misses, 3);
  EXPECT_EQ(store->stats().hits, 0);
  // Each is at least its packed bytes, and at most those with every tensor rounded out to whole blocks.
  EXPECT_GE(store->stats().bytes_read, 3 * store->expert_bytes() * 9 / 10);
  EXPECT_LE(store->stats().bytes_read, 3 * (store->expert_bytes() + 12 * AsyncReader::kAlign));
  const std::int64_t before = store->stats().bytes_read;
  ASSERT_TRUE(ask(*store, 0, {1, 4, 5}, 3));
  EXPECT_EQ(store->stats().hits, 3);
  EXPECT_EQ(store->stats().bytes_read, before);

  const std::int32_t next[] = {2, 3};
  store->prefetch(1, next);
  ASSERT_TRUE(ask(*store, 1, {2, 7}, 2));
  EXPECT_EQ(store->stats().prefetched, 1);
  EXPECT_EQ(store->stats().misses, 4);
  EXPECT_EQ(store->stats().asked(), 8);
}

TEST_F(ExpertStores, CountWhatWasPrefetchedForNothing) {
  write(many_experts());
  auto store = open(8).value();
  store->begin_step(1);
  const std::int32_t wrong[] = {9};
  store->prefetch(1, wrong);
  ASSERT_TRUE(ask(*store, 0, {1, 2, 3, 4, 5, 6}, 6));  // long enough for it to arrive and be packed
  ASSERT_TRUE(ask(*store, 1, {2, 3}, 2));
  ASSERT_TRUE(ask(*store, 2, {2, 3}, 2));
  store->begin_step(1);
  ASSERT_TRUE(ask(*store, 1, {2, 3}, 2));
  EXPECT_EQ(store->stats().wasted, 1);
  EXPECT_EQ(store->stats().prefetched, 0);
}

TEST_F(ExpertStores, BelieveGuessesThatWereRight) {
  write(many_experts());
  auto store = open(8).value();
  auto round = [&](std::int32_t guessed) {
    store->begin_step(1);
    const std::int32_t next[] = {guessed};
    store->guess(1, next);
    ASSERT_TRUE(ask(*store, 1, {2}, 1));
    ASSERT_TRUE(ask(*store, 0, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 3));  // drives it out
  };
  round(2);
  EXPECT_EQ(store->stats().guessed_right, 1);
  EXPECT_EQ(store->stats().prefetched, 0) << "one is not enough";
  for (int i = 0; i < 300; ++i) round(2);
  EXPECT_GT(store->stats().prefetched, 50);
  for (int i = 0; i < 300; ++i) round(3);
  const std::int64_t before = store->stats().prefetched, wasted = store->stats().wasted;
  for (int i = 0; i < 10; ++i) round(3);
  EXPECT_EQ(store->stats().prefetched, before);
  EXPECT_EQ(store->stats().wasted, wasted);
  EXPECT_EQ(store->stats().guessed, 611);
  EXPECT_EQ(store->stats().guessed_right, 301);
}

TEST_F(ExpertStores, NameTheFileWhenTheDiskFails) {
  write(many_experts());
  for (const std::int64_t result : {std::int64_t{-EIO}, std::int64_t{0}}) {
    auto faults = std::make_shared<BadQueue::Faults>();
    faults->result = result;
    auto store = open(4, faults).value();
    store->begin_step(1);
    ASSERT_TRUE(ask(*store, 0, {1, 2}, 2));
    faults->fail_from = 0;
    const auto asked = ask(*store, 0, {1, 3, 4, 5}, 2);
    ASSERT_FALSE(asked);
    EXPECT_EQ(asked.error().code, ErrorCode::kIo);
    EXPECT_THAT(asked.error().what, HasSubstr(folder_.path() + "/model"));
    EXPECT_FALSE(ask(*store, 1, {3}, 1)) << "still broken";
    faults->fail_from = INT64_MAX;
    stress(*store, 5, 2);  // the disk is back, and so is the store
  }
}

TEST_F(ExpertStores, ForgiveAPrefetchThatFailedOnce) {
  write(many_experts());
  auto faults = std::make_shared<BadQueue::Faults>();
  faults->fail_from = 0;
  auto store = open(6, faults).value();
  store->begin_step(1);
  const std::int32_t next[] = {2, 3};
  store->prefetch(1, next);
  store->prefetch(1, {});  // takes note of what has failed
  faults->fail_from = INT64_MAX;
  const auto asked = ask(*store, 1, {2, 3}, 2);
  ASSERT_TRUE(asked) << asked.error().what;
  EXPECT_EQ(store->stats().misses, 2);
}

TEST_F(ExpertStores, SayThatAShardWasCutOff) {
  write(many_experts());
  auto store = open(4).value();
  const auto file = folder_.file("model.safetensors");
  const auto bytes = std::filesystem::file_size(file);
  loaded();  // what the comparison needs, before the cut
  std::filesystem::resize_file(file, bytes / 2);
  store->begin_step(1);
  const auto asked = ask(*store, 0, {0, 11}, 2);
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code, ErrorCode::kIo);
  EXPECT_THAT(asked.error().what, HasSubstr(file + ": the file has become shorter"));
}

TEST_F(ExpertStores, NameTheTensorOfABadScale) {
  auto tiny = test::TinyCheckpoint::generate(many_experts());
  tiny.find("layers.1.ffn.experts.7.w3.scale")->bytes[5] = 255;
  write(std::move(tiny));
  auto store = open(4).value();
  store->begin_step(1);
  std::vector<ExpertWant> wants{{7, 1}};
  store->begin_layer(1, wants);
  const auto ready = store->ready(pool_, 1);
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().code, ErrorCode::kBadInput);
  EXPECT_THAT(ready.error().what,
              HasSubstr("scale of tensor 'layers.1.ffn.experts.7.w3.weight' is not a finite number"));
  const auto again = load_weights(checkpoint_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().what, ready.error().what);  // the loader's words
}

TEST_F(ExpertStores, RefuseWhatCannotBeStreamed) {
  test::TinyShape plain = many_experts();
  plain.plain = true;
  write(plain);
  auto store = open(4);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(store.error().what, HasSubstr("'layers.0.ffn.experts.0.w1.weight' is F32"));
}

TEST_F(ExpertStores, RefuseTooLittleMemory) {
  write(many_experts());
  auto store = ExpertStore::open(checkpoint_, {10'000, 0, {}});
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kNoMemory);
  EXPECT_THAT(store.error().what, HasSubstr("too little"));
  store = ExpertStore::open(checkpoint_, {16 << 20, 0, {}});
  ASSERT_TRUE(store) << store.error().what;
  EXPECT_LE((*store)->memory_bytes(), 16 << 20);
  EXPECT_EQ((*store)->slots(), 60);  // all there are
}

TEST_F(ExpertStores, EndInTheMiddleOfALayer) {
  write(many_experts());
  for (const ReadMethod method : {ReadMethod::kAuto, ReadMethod::kThreads}) {
    auto store = open(4, {method, 8, true}).value();
    store->begin_step(1);
    const std::int32_t next[] = {2, 3, 4};
    store->prefetch(2, next);
    std::vector<ExpertWant> wants{{1, 1}, {5, 1}, {6, 1}};
    store->begin_layer(0, wants);
    store.reset();
    store = open(4, {method, 8, true}).value();
    store->begin_layer(0, wants);
    ASSERT_TRUE(store->ready(pool_, 2));
    stress(*store, 4, 1);  // the layer was left with experts asked for and given
  }
}

}  // namespace
}  // namespace hadal
