// A model whose experts come from disk against the same one with all of them in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cache/sequence.h"
#include "support/tiny_model.h"
#include "weights/expert_store.h"

namespace hadal {
namespace {

using testing::HasSubstr;

class StreamedExperts : public testing::Test {
 protected:
  void SetUp() override {
    test::TinyShape shape = test::tiny_flash();
    shape.n_routed_experts = 10;
    shape.num_experts_per_tok = 3;
    write(test::TinyCheckpoint::generate(shape));
  }
  void write(const test::TinyCheckpoint& tiny) {
    ASSERT_TRUE(tiny.write(folder_.path()));
    auto opened = Checkpoint::open(folder_.path());
    ASSERT_TRUE(opened) << opened.error().what;
    checkpoint_ = *opened;
  }
  std::shared_ptr<Model> model(std::int64_t slots, int threads = 1, bool trained = true,
                               ReadMethod method = ReadMethod::kAuto) {
    ExpertPlacement placement;
    if (slots > 0)
      placement.slots = slots;
    else
      placement.memory_bytes = ExpertPlacement::kAll;
    placement.reader = {method, 4, true};
    auto weights = load_weights(checkpoint_, placement);
    if (!weights) return ADD_FAILURE() << weights.error().what, nullptr;
    EXPECT_EQ(weights->expert_store() != nullptr, slots > 0);
    ModelOptions options;
    options.numerics.fast = trained;
    options.threads = threads;
    return Model::create(std::move(*weights), options).value();
  }
  // Main and MTP logits of all tokens.
  static Result<std::vector<float>> logits(Sequence& sequence, std::span<const TokenId> ids, std::size_t piece) {
    const auto vocab = static_cast<std::size_t>(sequence.model()->config().vocab_size);
    std::vector<float> out;
    while (!ids.empty()) {
      const auto part = ids.first(std::min(piece, ids.size()));
      std::vector<float> main(part.size() * vocab), mtp((part.size() - (sequence.length() == 0 ? 1 : 0)) * vocab);
      FeedOutputs outputs;
      outputs.all_logits = main.data();
      outputs.mtp_logits = mtp.data();
      HADAL_CHECK_OK(sequence.feed(part, outputs));
      out.insert(out.end(), main.begin(), main.end());
      out.insert(out.end(), mtp.begin(), mtp.end());
      ids = ids.subspan(part.size());
    }
    return out;
  }
  static std::vector<float> logits(const std::shared_ptr<Model>& model, std::span<const TokenId> ids,
                                   std::size_t piece) {
    auto sequence = Sequence::create(model, true);
    auto out = logits(*sequence, ids, piece);
    EXPECT_TRUE(out) << out.error().what;
    return out.value_or(std::vector<float>());
  }

  test::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
};

TEST_F(StreamedExperts, GiveTheBitsOfTheResidentModel) {
  for (const bool trained : {true, false}) {
    const auto resident = model(0, 1, trained);
    const auto ids = test::random_ids(*resident, 70, 3);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{5}, std::size_t{70}}) {
      const auto want = logits(resident, ids, piece);
      for (const std::int64_t slots : {3, 7, 50})
        for (const int threads : {1, 3})
          EXPECT_TRUE(test::bits_equal(logits(model(slots, threads, trained), ids, piece), want))
              << slots << " slots, " << threads << " threads, pieces of " << piece;
      EXPECT_TRUE(test::bits_equal(logits(model(4, 2, trained, ReadMethod::kThreads), ids, piece), want));
    }
  }
}

TEST_F(StreamedExperts, CountWhatTheyDo) {
  const auto streamed = model(50);
  const auto ids = test::random_ids(*streamed, 40, 3);
  logits(streamed, ids, 1);
  const ExpertStats& stats = streamed->weights().expert_store()->stats();
  EXPECT_EQ(stats.asked(), 40 * 4 * 3 + 39 * 3);  // three a token in four layers and the MTP block, which lags by one
  EXPECT_GT(stats.hits, stats.misses);            // there is a slot for each
  EXPECT_GT(stats.prefetched, 0);                 // the hash layer's
  EXPECT_LE(stats.misses + stats.prefetched, 50);
}

TEST_F(StreamedExperts, ReadEachExpertOnceInALongStep) {
  const auto streamed = model(6);
  logits(streamed, test::random_ids(*streamed, 200, 3), 200);
  const ExpertStats& stats = streamed->weights().expert_store()->stats();
  EXPECT_LE(stats.misses + stats.prefetched, 50);
  const ExpertFiles& files = streamed->weights().expert_store()->files();
  EXPECT_LE(stats.bytes_read, 51 * files.staging_bytes());
}

TEST_F(StreamedExperts, FailCleanlyWhenAShardIsCutOffAndGoOnWhenItIsBack) {
  const auto streamed = model(3);
  const auto ids = test::random_ids(*streamed, 60, 5);
  const auto want = logits(model(0), ids, 1);

  auto sequence = Sequence::create(streamed, true).value();
  const auto half = std::span(ids).first(30), rest = std::span(ids).subspan(30);
  auto got = logits(sequence, half, 1);
  ASSERT_TRUE(got);
  const auto file = folder_.file("model.safetensors");
  const auto bytes = std::filesystem::file_size(file);
  const auto times = std::filesystem::last_write_time(file);
  std::filesystem::copy_file(file, folder_.file("copy"));
  std::filesystem::resize_file(file, bytes * 3 / 4);
  const auto failed = logits(sequence, rest, 1);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kIo);
  EXPECT_THAT(failed.error().what, HasSubstr(file));
  EXPECT_EQ(sequence.length(), 30);
  EXPECT_EQ(sequence.tokens().size(), 30u);
  EXPECT_FALSE(logits(sequence, rest, 1)) << "still cut off: the refill fails";

  {
    std::ifstream in(folder_.file("copy"), std::ios::binary);
    std::ofstream out(file, std::ios::binary | std::ios::in);  // the same file, whole again
    out << in.rdbuf();
  }
  std::filesystem::last_write_time(file, times);
  auto again = logits(sequence, rest, 1);
  ASSERT_TRUE(again) << again.error().what;
  got->insert(got->end(), again->begin(), again->end());
  EXPECT_TRUE(test::bits_equal(*got, want));
}

// Rows of the embedding are read from the file whether experts are or not: a mapping would end the process with SIGBUS.
TEST_F(StreamedExperts, FailCleanlyWhenTheFileIsCutOffInAStep) {
  const auto file = folder_.file("model.safetensors");
  for (const std::int64_t slots : {0, 3}) {
    const auto cut = model(slots);
    ASSERT_TRUE(cut->weights().embed.in_file());
    auto sequence = Sequence::create(cut, true).value();
    const auto ids = test::random_ids(*cut, 20'000, 5);
    ASSERT_TRUE(logits(sequence, std::span(ids).first(2), 1));
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      std::filesystem::resize_file(file, 64);
    });
    const auto failed = logits(sequence, std::span(ids).subspan(2), 1);
    other.join();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, ErrorCode::kIo);
    EXPECT_THAT(failed.error().what, HasSubstr(file + ": the file has become shorter since it was opened"));
    EXPECT_LT(sequence.length(), 20'000);
    SetUp();  // whole again for the next
  }
}

TEST_F(StreamedExperts, GiveNoTokenForABadScale) {
  auto tiny = test::TinyCheckpoint::generate(test::tiny_flash());
  for (int e = 0; e < 4; ++e) tiny.find("layers.2.ffn.experts." + std::to_string(e) + ".w2.scale")->bytes[3] = 255;
  const test::TemporaryFolder other;
  ASSERT_TRUE(tiny.write(other.path()));
  checkpoint_ = Checkpoint::open(other.path()).value();
  const auto streamed = model(4);
  auto sequence = Sequence::create(streamed).value();
  std::vector<float> out(static_cast<std::size_t>(streamed->config().vocab_size), -7.0f);
  FeedOutputs outputs;
  outputs.last_logits = out.data();
  const auto fed = sequence.feed(test::random_ids(*streamed, 3, 1), outputs);
  ASSERT_FALSE(fed);
  EXPECT_THAT(fed.error().what, HasSubstr("scale of tensor 'layers.2.ffn.experts."));
  EXPECT_EQ(sequence.length(), 0);
  EXPECT_EQ(out[0], -7.0f);
}

TEST_F(StreamedExperts, AreWhatMemoryAsks) {
  auto with = [&](std::int64_t memory, std::int64_t keep = 0) {
    ExpertPlacement placement;
    placement.memory_bytes = memory;
    placement.keep_free_bytes = keep;
    return load_weights(checkpoint_, placement);
  };
  EXPECT_EQ(with(ExpertPlacement::kAuto).value().expert_store(), nullptr);
  EXPECT_EQ(with(ExpertPlacement::kAll).value().expert_store(), nullptr);
  EXPECT_EQ(with(std::int64_t{1} << 30).value().expert_store(), nullptr);  // more than all of them
  const auto some = with(600'000);
  ASSERT_TRUE(some) << some.error().what;
  ASSERT_NE(some->expert_store(), nullptr);
  EXPECT_LE(some->expert_store()->memory_bytes(), 600'000);
  const auto little = with(30'000);
  ASSERT_FALSE(little);
  EXPECT_EQ(little.error().code, ErrorCode::kNoMemory);
  // Nothing would be gained by leaving them on disk: who asks for so much will be refused.
  EXPECT_EQ(with(ExpertPlacement::kAuto, INT64_MAX / 4).value().expert_store(), nullptr);
}

}  // namespace
}  // namespace hadal
