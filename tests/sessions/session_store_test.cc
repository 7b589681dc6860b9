#include "sessions/session_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/clock.h"
#include "sessions/log_model.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using testing::HasSubstr;

class SessionStoreTest : public testing::Test {
 protected:
  SessionStoreTest() {
    options_.identity = test::plain_header().identity;
    options_.model = "nano";
    options_.sync = SyncPolicy::Mode::kNever;
  }
  std::unique_ptr<SessionStore> open() const {
    auto store = SessionStore::open(folder_.path(), options_);
    EXPECT_TRUE(store) << store.error().what;
    return std::move(*store);
  }
  static std::vector<TokenId> ids(int first, int count) {
    std::vector<TokenId> out;
    for (int i = 0; i < count; ++i) out.push_back(TokenId{first + i});
    return out;
  }
  static void make(SessionStore& store, const std::string& id, std::span<const TokenId> tokens) {
    auto log = store.create(id);
    ASSERT_TRUE(log) << log.error().what;
    ASSERT_TRUE(log->append(TokenOrigin::kPrompt, tokens));
    store.update(*log);
  }
  // Files written within one tick of the clock have the same time; this one was changed before.
  void age(const std::string& id) const {
    const auto time = std::filesystem::last_write_time(log_path(id));
    std::filesystem::last_write_time(log_path(id), time - std::chrono::seconds(1));
  }
  std::string log_path(const std::string& id) const { return folder_.file("sessions/" + id + ".log"); }

  test::TemporaryFolder folder_;
  SessionStoreOptions options_;
};

TEST_F(SessionStoreTest, ListsWhatIsThereAfterReopening) {
  {
    auto store = open();
    make(*store, "a", ids(0, 5));
    make(*store, "b", ids(0, 9));
    auto log = store->open_session("b");
    ASSERT_TRUE(log->rewind(3));
    store->update(*log);
  }
  age("a");
  auto store = open();
  auto list = store->list();
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].id, "b");  // changed last
  EXPECT_EQ((*list)[0].length, 3);
  EXPECT_EQ((*list)[0].branches, 2);
  EXPECT_EQ((*list)[0].model, "nano");
  EXPECT_TRUE((*list)[0].usable);
  EXPECT_GT((*list)[0].created_ms, 1700000000000);
  EXPECT_GE((*list)[0].updated_ms, (*list)[0].created_ms - 1000);
  EXPECT_EQ((*list)[1].length, 5);
  ASSERT_TRUE(store->remove("a"));
  EXPECT_EQ(store->list()->size(), 1u);
  EXPECT_EQ(store->remove("a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->remove("../b").error().code, ErrorCode::kNotFound);
}

TEST_F(SessionStoreTest, TheLogsAreTheTruthNotTheIndex) {
  {
    auto store = open();
    make(*store, "a", ids(0, 5));
    make(*store, "b", ids(10, 5));
    make(*store, "c", ids(20, 5));
  }
  {  // Behind the store's back: appended to, removed, damaged, put there.
    ASSERT_TRUE(SessionLog::open(log_path("a"), test::never())->append(TokenOrigin::kPrompt, ids(5, 2)));
    std::filesystem::copy_file(log_path("b"), log_path("d"));
    std::filesystem::remove(log_path("b"));
    std::fstream f(log_path("c"), std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(20);
    f.put('!');
  }
  for (const char* index : {"as it was", "missing", "garbage"}) {
    SCOPED_TRACE(index);
    const std::string path = folder_.file("sessions/index.sqlite");
    if (index != std::string("as it was")) {
      for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path + end);
      if (index == std::string("garbage")) std::ofstream(path) << std::string(5000, 'x');
    }
    auto store = open();
    EXPECT_EQ(store->find_prefix(ids(0, 100)), "a");
    EXPECT_FALSE(store->find_prefix(ids(10, 100)));
    std::map<std::string, SessionSummary> by_id;
    const auto list = store->list();
    ASSERT_TRUE(list);
    for (const auto& s : *list) by_id[s.id] = s;
    ASSERT_EQ(by_id.size(), 3u);
    EXPECT_EQ(by_id["a"].length, 7);
    EXPECT_THAT(by_id["c"].problem, HasSubstr("header is damaged"));
    EXPECT_THAT(by_id["d"].problem, HasSubstr("holds the session b"));
    EXPECT_FALSE(store->open_session("d"));
  }
}

TEST_F(SessionStoreTest, FindsTheLongestBeginning) {
  auto store = open();
  make(*store, "short", ids(0, 10));
  make(*store, "long", ids(0, 20));
  make(*store, "other", ids(1, 20));
  make(*store, "empty", {});
  EXPECT_EQ(store->find_prefix(ids(0, 50)), "long");
  EXPECT_EQ(store->find_prefix(ids(0, 20)), "long");
  EXPECT_EQ(store->find_prefix(ids(0, 19)), "short");
  EXPECT_FALSE(store->find_prefix(ids(0, 19), 11));
  EXPECT_FALSE(store->find_prefix(ids(0, 9)));
  EXPECT_FALSE(store->find_prefix({}));
  {
    auto log = store->open_session("long");
    ASSERT_TRUE(log->rewind(12));
    store->update(*log);
  }
  EXPECT_EQ(store->find_prefix(ids(0, 19)), "long");  // 12 of them now
  ASSERT_TRUE(store->remove("long"));
  EXPECT_EQ(store->find_prefix(ids(0, 50)), "short");
  make(*store, "twin", ids(0, 10));
  age("short");
  ASSERT_TRUE(store->list());
  EXPECT_EQ(store->find_prefix(ids(0, 50)), "twin");  // changed last
}

TEST_F(SessionStoreTest, AgreesWithComparingAllOfThem) {
  auto store = open();
  std::mt19937 random(5);
  std::vector<std::pair<std::string, std::vector<TokenId>>> all;
  for (int i = 0; i < 120; ++i) {
    std::vector<TokenId> tokens;
    const std::size_t n = 1 + random() % 12;
    for (std::size_t k = 0; k < n; ++k) tokens.push_back(TokenId{static_cast<std::int32_t>(random() % 2)});
    all.emplace_back("s" + std::to_string(i), tokens);
    make(*store, all.back().first, tokens);
  }
  for (int i = 0; i < 200; ++i) {
    std::vector<TokenId> asked;
    for (int k = 0; k < 14; ++k) asked.push_back(TokenId{static_cast<std::int32_t>(random() % 2)});
    std::size_t longest = 0;
    for (const auto& [id, tokens] : all)
      if (std::ranges::equal(tokens, std::span(asked).first(tokens.size()))) longest = std::max(longest, tokens.size());
    const auto found = store->find_prefix(asked);
    ASSERT_EQ(found.has_value(), longest > 0);
    const std::size_t length = found ? static_cast<std::size_t>(store->read(*found)->length()) : 0;
    ASSERT_EQ(length, longest);
  }
}

TEST_F(SessionStoreTest, SessionsOfOtherModelsAreSeenButNotUsed) {
  make(*open(), "mine", ids(0, 5));
  options_.identity->weights ^= 1;
  auto store = open();
  EXPECT_FALSE((*store->list())[0].usable);
  EXPECT_THAT((*store->list())[0].problem, HasSubstr("other weights"));
  EXPECT_EQ(store->open_session("mine").error().code, ErrorCode::kUnsupported);
  EXPECT_TRUE(store->read("mine"));
  EXPECT_FALSE(store->find_prefix(ids(0, 50)));
}

TEST_F(SessionStoreTest, ExportAndImportKeepEverything) {
  auto store = open();
  {
    auto log = store->create("a");
    std::mt19937 random(11);
    test::PlainSession plain;
    for (int i = 0; i < 200; ++i) test::random_step(random, plain, *log);
    store->update(*log);
    ASSERT_TRUE(store->export_to("a", folder_.file("file")));  // while it is open
    EXPECT_EQ(store->export_to("a", folder_.file("file")).error().code, ErrorCode::kUsage);
    test::TemporaryFolder elsewhere;
    auto other = SessionStore::open(elsewhere.path(), options_);
    ASSERT_EQ((*other)->import_from(folder_.file("file")), "a");
    test::expect_same(plain, *(*other)->read("a"));
    EXPECT_EQ((*other)->import_from(folder_.file("file")).error().code, ErrorCode::kUsage);
    ImportOptions as;
    as.id = "b";
    ASSERT_EQ((*other)->import_from(folder_.file("file"), as), "b");
    test::expect_same(plain, *(*other)->open_session("b"));
    EXPECT_EQ((*other)->read("b")->chain() == log->chain(), false);  // another header begins another chain
    EXPECT_EQ((*other)->read("a")->chain(), log->chain());
  }
  options_.identity->weights ^= 1;
  test::TemporaryFolder third;
  auto store3 = SessionStore::open(third.path(), options_);
  auto refused = (*store3)->import_from(folder_.file("file"));
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().what, HasSubstr("--any-model"));
  ImportOptions any;
  any.any_model = true;
  ASSERT_EQ((*store3)->import_from(folder_.file("file"), any), "a");
  EXPECT_EQ((*store3)->read("a")->header().identity, *options_.identity);
  options_.identity->tokenizer ^= 1;
  test::TemporaryFolder fourth;
  auto store4 = SessionStore::open(fourth.path(), options_);
  EXPECT_THAT((*store4)->import_from(folder_.file("file"), any).error().what, HasSubstr("another tokenizer"));

  std::filesystem::resize_file(folder_.file("file"), std::filesystem::file_size(folder_.file("file")) - 1);
  EXPECT_THAT((*store4)->import_from(folder_.file("file"), any).error().what, HasSubstr("torn"));
}

TEST_F(SessionStoreTest, ResolvesBeginnings) {
  auto store = open();
  make(*store, "abc", ids(0, 1));
  make(*store, "abd", ids(0, 1));
  make(*store, "ab", ids(0, 1));
  EXPECT_EQ(store->resolve("abc"), "abc");
  EXPECT_EQ(store->resolve("ab"), "ab");
  EXPECT_EQ(store->resolve("a").error().code, ErrorCode::kUsage);
  EXPECT_EQ(store->resolve("").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->resolve("x").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->create("abc").error().code, ErrorCode::kUsage);
  EXPECT_EQ(store->create("../x").error().code, ErrorCode::kUsage);
}

// Prints what finding costs among many; asserts only that it was found.
TEST_F(SessionStoreTest, FindsAmongMany) {
  auto store = open();
  constexpr int kMany = 500;
  Stopwatch making;
  for (int i = 0; i < kMany; ++i) make(*store, "s" + std::to_string(i), ids(i, 20 + i % 300));
  const double made = making.seconds();
  const auto asked = ids(234, 100000);
  Stopwatch finding;
  for (int i = 0; i < 20; ++i) ASSERT_EQ(store->find_prefix(asked), "s234");
  fmt::print("[ figures  ] {} sessions: {:.0f} us to make one, {:.0f} us to find one by 100000 ids\n", kMany,
             made * 1e6 / kMany, finding.seconds() * 1e6 / 20);
  store.reset();
  Stopwatch opening;
  store = open();
  fmt::print("[ figures  ] opened with the index in {:.1f} ms\n", opening.seconds() * 1e3);
  EXPECT_EQ(store->find_prefix(asked), "s234");
  store.reset();
  std::filesystem::remove(folder_.file("sessions/index.sqlite"));
  opening.restart();
  store = open();
  fmt::print("[ figures  ] index made again in {:.1f} ms\n", opening.seconds() * 1e3);
  EXPECT_EQ(store->find_prefix(asked), "s234");
}

}  // namespace
}  // namespace hadal
