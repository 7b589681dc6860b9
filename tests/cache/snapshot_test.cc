// docs/formats/sequence.md: what save() writes comes back, and nothing else does.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "cache/sequence.h"
#include "support/tiny_model.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;
using test::bits_equal;
using test::random_ids;
using test::tiny_model;

class SnapshotTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::temp_directory_path() / ("hadal_snapshot_" + std::to_string(getpid()));
    fs::create_directories(directory_);
    path_ = (directory_ / "sequence").string();
    ids_ = random_ids(*model_, 1200, 11);
  }
  void TearDown() override { fs::remove_all(directory_); }

  Sequence fed(std::size_t count) {
    auto s = Sequence::create(model_);
    EXPECT_TRUE(s->feed(std::span<const TokenId>(ids_).first(count)).has_value());
    return std::move(*s);
  }
  std::vector<float> logits_after(Sequence& s, std::span<const TokenId> ids) {
    std::vector<float> out(static_cast<std::size_t>(model_->config().vocab_size));
    FeedOutputs wanted;
    wanted.last_logits = out.data();
    auto status = s.feed(ids, wanted);
    EXPECT_TRUE(status.has_value()) << (status ? "" : status.error().what);
    return out;
  }
  static std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  static void SetUpTestSuite() { model_ = tiny_model(true); }
  static void TearDownTestSuite() { model_.reset(); }
  static std::shared_ptr<Model> model_;
  fs::path directory_;
  std::string path_;
  std::vector<TokenId> ids_;
};
std::shared_ptr<Model> SnapshotTest::model_;

TEST_F(SnapshotTest, RestoreThenFeedEqualsFeed) {
  std::span<const TokenId> all(ids_);
  Sequence straight = fed(1100);
  auto expected = logits_after(straight, all.subspan(1100));
  for (std::size_t cut : {1, 4, 127, 128, 129, 500, 1024, 1025}) {
    Sequence s = fed(cut);
    auto saved = s.save(path_);
    ASSERT_TRUE(saved.has_value()) << saved.error().what;
    auto back = Sequence::restore(model_, path_);
    ASSERT_TRUE(back.has_value()) << back.error().what;
    EXPECT_EQ(back->length(), static_cast<Position>(cut));
    ASSERT_TRUE(back->feed(all.subspan(cut, 1100 - cut)).has_value());
    EXPECT_TRUE(bits_equal(logits_after(*back, all.subspan(1100)), expected)) << "cut " << cut;
  }
}

TEST_F(SnapshotTest, EveryDamagedByteIsNoticed) {
  Sequence s = fed(300);
  ASSERT_TRUE(s.save(path_).has_value());
  const std::string good = read(path_);
  std::mt19937 random(12);
  for (int i = 0; i < 120; ++i) {
    std::string bad = good;
    // Every header byte once, then random places.
    std::size_t at = i < 72 ? static_cast<std::size_t>(i) : random() % good.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << (random() % 8)));
    write(path_, bad);
    EXPECT_FALSE(Sequence::restore(model_, path_).has_value()) << "byte " << at;
  }
  for (std::size_t size : {std::size_t{0}, std::size_t{71}, std::size_t{72}, good.size() / 2, good.size() - 1}) {
    write(path_, good.substr(0, size));
    EXPECT_FALSE(Sequence::restore(model_, path_).has_value()) << "cut to " << size;
  }
  write(path_, good + "x");
  EXPECT_FALSE(Sequence::restore(model_, path_).has_value());
  write(path_, good);
  EXPECT_TRUE(Sequence::restore(model_, path_).has_value());
}

TEST_F(SnapshotTest, RefusesOtherNumericsByName) {
  Sequence s = fed(50);
  ASSERT_TRUE(s.save(path_).has_value());
  auto other = Sequence::restore(tiny_model(false), path_);
  ASSERT_FALSE(other.has_value());
  EXPECT_NE(other.error().what.find("--numerics"), std::string::npos) << other.error().what;
  EXPECT_EQ(Sequence::restore(model_, path_ + "-missing").error().code, ErrorCode::kIo);
}

TEST_F(SnapshotTest, KilledWhileSavingTheOldFileSurvives) {
  Sequence s = fed(200);
  ASSERT_TRUE(s.save(path_).has_value());
  std::mt19937 random(13);
  for (int round = 0; round < 8; ++round) {
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (;;) (void)s.save(path_).has_value();
    }
    usleep(1000 + random() % 20000);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    auto back = Sequence::restore(model_, path_);
    ASSERT_TRUE(back.has_value()) << back.error().what;
    EXPECT_EQ(back->length(), 200);
  }
}

}  // namespace
}  // namespace hadal
