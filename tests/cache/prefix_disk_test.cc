// The disk tier: what was kept is found after a restart, with the same bits; what is damaged, torn or of other weights
// is never served.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "cache/prefix_store.h"
#include "support/tiny_model.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;
using test::bits_equal;
using test::random_ids;
using test::TemporaryFolder;
using test::tiny_model;
using Ids = std::vector<TokenId>;

constexpr std::int64_t kPlenty = std::int64_t{1} << 30;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

class PrefixDiskTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = tiny_model(true);
    line_ = random_ids(*model_, 2260, 1);
  }
  static void TearDownTestSuite() { model_.reset(); }

  std::unique_ptr<PrefixStore> open(const PrefixStoreOptions& changes = {}) {
    PrefixStoreOptions options = changes;
    if (options.memory_bytes == 0) options.memory_bytes = kPlenty;
    if (options.disk_bytes == 0) options.disk_bytes = kPlenty;
    options.folder = folder_.file("pages");
    auto store = PrefixStore::open(model_, options);
    EXPECT_TRUE(store.has_value()) << (store ? "" : store.error().what);
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
  // Looks the whole line up, goes on a little, and compares with feeding everything; gives what was reused.
  static Position check_line(PrefixStore& store, const std::string& what) {
    auto hit = store.lookup(line_);
    EXPECT_TRUE(hit.has_value()) << what;
    EXPECT_TRUE(std::equal(line_.begin(), line_.begin() + hit->reused, hit->sequence.tokens().begin())) << what;
    const auto reused = static_cast<std::size_t>(hit->reused);
    const auto some = std::span<const TokenId>(line_).first(reused + 24);
    static std::map<std::size_t, std::vector<float>> known;  // feeding everything takes long: once for each place
    auto expected = known.find(reused);
    if (expected == known.end()) {
      Sequence straight = fed({});
      expected = known.emplace(reused, last_logits(straight, some)).first;
    }
    EXPECT_TRUE(bits_equal(last_logits(hit->sequence, some.subspan(reused)), expected->second)) << what;
    return hit->reused;
  }
  // The line, kept at the given places.
  void keep_line(PrefixStore& store, std::initializer_list<std::size_t> places) {
    Sequence s = fed({});
    std::size_t at = 0;
    for (std::size_t place : places) {
      EXPECT_TRUE(s.feed(std::span<const TokenId>(line_).subspan(at, place - at)).has_value());
      EXPECT_TRUE(store.keep(s).has_value());
      at = place;
    }
  }
  std::vector<fs::path> files(const std::string& suffix = "") const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_.file("pages")))
      if (suffix.empty() ? entry.path().filename() != "lock" : entry.path().extension() == suffix)
        out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
  }

  static std::shared_ptr<Model> model_;
  static Ids line_;
  TemporaryFolder folder_;
};
std::shared_ptr<Model> PrefixDiskTest::model_;
Ids PrefixDiskTest::line_;

TEST_F(PrefixDiskTest, FindsEverythingAfterARestart) {
  for (std::size_t place : {1, 128, 1023, 1024, 1025, 2222}) {
    fs::remove_all(folder_.file("pages"));
    {
      auto store = open();
      keep_line(*store, {place});
    }
    auto store = open();
    EXPECT_EQ(store->stats().boundaries, 1);
    EXPECT_EQ(check_line(*store, "kept at " + std::to_string(place)), static_cast<Position>(place));
    EXPECT_EQ(store->stats().dropped_files, 0);
    // Read once; the second time from memory.
    const std::int64_t before = store->stats().read_bytes;
    EXPECT_GT(before, 0);
    EXPECT_EQ(check_line(*store, "again"), static_cast<Position>(place));
    EXPECT_EQ(store->stats().read_bytes, before);
  }
}

TEST_F(PrefixDiskTest, EditedPastsAreRefilledFromDisk) {
  {
    auto store = open();
    keep_line(*store, {2240});
  }
  const Ids tail = random_ids(*model_, 30, 2);
  for (std::size_t at : {1500, 2048, 2200}) {
    auto store = open();
    Ids edited(line_.begin(), line_.begin() + static_cast<std::ptrdiff_t>(at));
    edited.insert(edited.end(), tail.begin(), tail.end());
    auto hit = store->lookup(edited);
    ASSERT_TRUE(hit.has_value());
    EXPECT_GE(hit->reused, static_cast<Position>(at));
    EXPECT_GT(hit->refill, 0);
    Sequence straight = fed({});
    EXPECT_TRUE(bits_equal(last_logits(hit->sequence, std::span(edited).subspan(static_cast<std::size_t>(hit->reused))),
                           last_logits(straight, edited)));
  }
}

TEST_F(PrefixDiskTest, EveryPolicyGivesTheSameBits) {
  const WindowPolicy policies[] = {
      {WindowPolicy::Kind::kFull, 0}, {WindowPolicy::Kind::kPeriodic, 500}, {WindowPolicy::Kind::kNone, 0}};
  std::int64_t smaller = kPlenty;
  for (const WindowPolicy& policy : policies) {
    fs::remove_all(folder_.file("pages"));
    {
      auto store = open({.windows = policy});
      keep_line(*store, {600, 800, 1000, 1200, 1400, 2100, 2200});
      store->flush();
      EXPECT_LT(store->stats().disk_bytes, smaller);
      smaller = store->stats().disk_bytes;
    }
    auto store = open({.windows = policy});
    auto hit = store->lookup(line_);
    ASSERT_TRUE(hit.has_value());
    // The last state on disk is at 2200, 2100 and nowhere. Refilling starts 3 windows and a tail before the end.
    EXPECT_EQ(hit->refill > 0, policy.kind == WindowPolicy::Kind::kNone);
    EXPECT_EQ(hit->reused, policy.kind == WindowPolicy::Kind::kPeriodic ? 2100 : 2200);
    check_line(*store, "policy");
  }
}

TEST_F(PrefixDiskTest, PolicyFollowsTheRates) {
  const CacheLayout layout = CacheLayout::make(model_->config(), model_->format());
  const auto choose = [&](double disk, double prefill) {
    return choose_policy(disk, prefill, layout, model_->config());
  };
  EXPECT_EQ(choose(0, 0).kind, WindowPolicy::Kind::kFull);
  EXPECT_EQ(choose(1e9, 50).kind, WindowPolicy::Kind::kFull);   // computing is dear
  EXPECT_EQ(choose(1e5, 1e6).kind, WindowPolicy::Kind::kNone);  // the disk is slow
  bool periodic = false;
  for (double prefill = 1; prefill < 1e9; prefill *= 1.5)
    periodic = periodic || choose(1e6, prefill).kind == WindowPolicy::Kind::kPeriodic;
  // This model's windows are refilled in few tokens, so there may be no range in which periodic pays; Flash has one.
  ModelConfig deep = model_->config();
  deep.sliding_window = 128;
  CacheLayout tall = layout;
  tall.layers.resize(44, tall.layers.front());
  tall.state_bytes = 15'000'000;
  EXPECT_EQ(choose_policy(2e8, 20'000, tall, deep).kind, WindowPolicy::Kind::kPeriodic);
  EXPECT_EQ(choose_policy(1e9, 20, tall, deep).kind, WindowPolicy::Kind::kFull);
  EXPECT_EQ(choose_policy(1e7, 1e6, tall, deep).kind, WindowPolicy::Kind::kNone);
}

TEST_F(PrefixDiskTest, DamagedFilesAreDroppedNeverServed) {
  {
    auto store = open();
    keep_line(*store, {700, 1500, 2222});
  }
  std::vector<std::pair<fs::path, std::string>> good;
  for (const fs::path& path : files()) good.emplace_back(path, read(path));
  ASSERT_EQ(good.size(), 5u);  // two pages, three boundaries
  std::mt19937 random(3);
  for (int round = 0; round < 36; ++round) {
    for (const auto& [path, bytes] : good) write(path, bytes);
    for (const fs::path& path : files())
      if (std::none_of(good.begin(), good.end(), [&](const auto& g) { return g.first == path; })) fs::remove(path);
    const auto& [path, bytes] = good[static_cast<std::size_t>(round) % good.size()];
    std::string bad = bytes;
    const std::size_t at = round < 18 ? random() % 300 : random() % bad.size();
    // Zeros between head and payload carry nothing and are not summed.
    if (round % 6 == 5)
      bad.resize(at);
    else
      bad[at] = static_cast<char>(bad[at] ^ (1 << (random() % 8)));
    const bool in_open = round % 4 < 2;  // damaged before the start, or under a running store
    if (in_open) write(path, bad);
    auto store = open();
    if (!in_open) write(path, bad);
    check_line(*store, "round " + std::to_string(round));
  }
}

TEST_F(PrefixDiskTest, ADamagedPageCostsOnlyWhatLiesBehindIt) {
  {
    auto store = open();
    keep_line(*store, {700, 1500, 2222});
  }
  for (const fs::path& path : files(".page")) {
    std::string bytes = read(path);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write(path, bytes);
  }
  auto store = open();
  EXPECT_EQ(check_line(*store, "pages damaged"), 700);
  EXPECT_GE(store->stats().dropped_files, 1);
  store->flush();
  for (const fs::path& path : files(".tail")) {
    std::string bytes = read(path);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write(path, bytes);
  }
  store.reset();
  store = open();
  EXPECT_EQ(check_line(*store, "all damaged"), 0);
  store->flush();
  // Keeping the line again brings it all back.
  keep_line(*store, {2222});
  store.reset();
  store = open();
  EXPECT_EQ(check_line(*store, "kept again"), 2222);
}

TEST_F(PrefixDiskTest, OtherWeightsAndNumericsAreNotServed) {
  {
    auto store = open();
    keep_line(*store, {1500});
  }
  const auto before = files();
  auto other = tiny_model(false);
  auto store =
      PrefixStore::open(other, {.memory_bytes = kPlenty, .folder = folder_.file("pages"), .disk_bytes = kPlenty});
  ASSERT_TRUE(store.has_value());
  auto hit = (*store)->lookup(line_);
  ASSERT_TRUE(hit.has_value());
  EXPECT_EQ(hit->reused, 0);
  store->reset();
  EXPECT_EQ(files(), before);  // left for those whose they are
  EXPECT_EQ(check_line(*open(), "own model again"), 1500);
}

TEST_F(PrefixDiskTest, AFolderHasOneOwner) {
  auto store = open();
  auto second =
      PrefixStore::open(model_, {.memory_bytes = kPlenty, .folder = folder_.file("pages"), .disk_bytes = kPlenty});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
}

TEST_F(PrefixDiskTest, TheDiskBudgetHolds) {
  const CacheLayout layout = CacheLayout::make(model_->config(), model_->format());
  const std::int64_t budget = 6 * layout.page_bytes + 4 * layout.state_bytes;
  std::mt19937 random(4);
  auto store = open({.disk_bytes = budget});
  for (int round = 0; round < 14; ++round) {
    Ids ids(line_.begin(), line_.begin() + 1100);
    const Ids own = random_ids(*model_, 100 + random() % 1200, 10 + static_cast<unsigned>(round));
    ids.insert(ids.end(), own.begin(), own.end());
    auto hit = store->lookup(ids);
    ASSERT_TRUE(hit.has_value());
    ASSERT_TRUE(hit->sequence.feed(std::span(ids).subspan(static_cast<std::size_t>(hit->reused))).has_value());
    ASSERT_TRUE(store->keep(hit->sequence).has_value());
    store->flush();
  }
  ASSERT_TRUE(store->keep(fed(std::span(line_).first(5))).has_value());
  store->flush();
  EXPECT_GT(store->stats().disk_evictions, 0);
  const auto on_disk = [&] {
    std::int64_t bytes = 0;
    for (const fs::path& path : files()) bytes += static_cast<std::int64_t>(fs::file_size(path));
    return bytes;
  };
  const std::int64_t said = store->stats().disk_bytes;
  EXPECT_EQ(on_disk(), said);                   // nothing is left behind that nobody counts
  EXPECT_LE(said, budget + layout.page_bytes);  // the last keep's file was still queued when it was counted
  store.reset();
  store = open({.disk_bytes = budget});
  store->flush();
  EXPECT_LE(on_disk(), budget);
  check_line(*store, "after evictions");
}

TEST_F(PrefixDiskTest, MemoryIsGivenBackToWhatIsOnDisk) {
  const CacheLayout layout = CacheLayout::make(model_->config(), model_->format());
  auto store = open({.memory_bytes = layout.page_bytes, .disk_bytes_per_s = 1e9, .prefill_tokens_per_s = 100});
  keep_line(*store, {700, 1500, 2222});
  store->flush();
  ASSERT_TRUE(store->keep(fed(std::span(line_).first(5))).has_value());
  EXPECT_GT(store->stats().evictions, 0);
  EXPECT_LE(store->stats().page_bytes, layout.page_bytes);
  EXPECT_EQ(check_line(*store, "from disk"), 2222);
}

TEST_F(PrefixDiskTest, AFullQueueRefusesAndLaterKeepsCatchUp) {
  auto store = open({.queue_bytes = 1});
  keep_line(*store, {2222});
  store->flush();
  EXPECT_GT(store->stats().refused_writes, 0);
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(store->keep(fed(std::span(line_).first(2222))).has_value());
    store->flush();
  }
  store.reset();
  EXPECT_EQ(check_line(*open(), "caught up"), 2222);
}

TEST_F(PrefixDiskTest, AWriterKilledAtAnyMomentLeavesWholeFiles) {
  std::mt19937 random(5);
  const CacheLayout layout = CacheLayout::make(model_->config(), model_->format());
  Sequence kept[] = {fed(std::span(line_).first(700)), fed(std::span(line_).first(1500)),
                     fed(std::span(line_).first(2222))};
  PrefixStoreOptions options{.memory_bytes = kPlenty,
                             .folder = folder_.file("pages"),
                             .disk_bytes = 3 * layout.page_bytes + 3 * layout.state_bytes};
  Position most = 0;
  for (int round = 0; round < 40; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // Writes and, the budget being small, evicts until it is killed.
      for (unsigned i = 0;; ++i) {
        auto store = PrefixStore::open(model_, options);
        if (!store) _exit(1);
        for (unsigned j = 0; j < 6; ++j) (void)(*store)->keep(kept[(i + j) % 3]).has_value();
      }
    }
    usleep(500 + random() % 25000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    auto store = open({.disk_bytes = options.disk_bytes});
    for (const fs::path& path : files()) EXPECT_NE(path.extension(), ".partial");
    auto hit = store->lookup(std::span(line_).first(2223));
    ASSERT_TRUE(hit.has_value());
    most = std::max(most, hit->reused);
    if (round % 8 == 0) check_line(*store, "round " + std::to_string(round));
    if (round % 5 == 4) {
      store.reset();
      fs::remove_all(options.folder);
    }
  }
  EXPECT_GT(most, 0);
}

}  // namespace
}  // namespace hadal
