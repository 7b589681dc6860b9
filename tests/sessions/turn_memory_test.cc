#include "sessions/turn_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "sessions/log_model.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using testing::HasSubstr;
using testing::Optional;

class TurnMemoryTest : public testing::Test {
 protected:
  TurnMemoryTest() { options_.sync = test::never(); }
  Result<TurnMemory> open() const { return TurnMemory::open(path_, 77, options_); }
  std::string read() const {
    std::ostringstream s;
    s << std::ifstream(path_, std::ios::binary).rdbuf();
    return s.str();
  }
  void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  static std::vector<TokenId> ids(int first, std::size_t count = 3) {
    std::vector<TokenId> out;
    for (std::size_t i = 0; i < count; ++i) out.push_back(TokenId{first + static_cast<int>(i)});
    return out;
  }

  static Status remember(TurnMemory& m, std::vector<TurnKey> keys, std::vector<std::string> calls,
                         std::vector<TokenId> ids) {
    return m.remember(keys, calls, ids);
  }

  test::TemporaryFolder folder_;
  std::string path_ = folder_.file("turns");
  TurnMemoryOptions options_;
};

TEST_F(TurnMemoryTest, FindsTurnsByCallAndByKeyAcrossOpenings) {
  {
    auto m = open();
    ASSERT_TRUE(m) << m.error().what;
    EXPECT_FALSE(m->find_call("a"));
    ASSERT_TRUE(remember(*m, {{1, 2}, {7, 8}}, {"a", "b"}, ids(10)));
    ASSERT_TRUE(m->remember_call("c", ids(20)));
    ASSERT_TRUE(m->remember_turn({3, 4}, ids(30)));
    ASSERT_TRUE(m->remember_call("a", ids(40)));  // the newer one holds
    EXPECT_EQ(open().error().code, ErrorCode::kBusy);
  }
  auto m = open();
  ASSERT_TRUE(m);
  EXPECT_THAT(m->find_call("a"), Optional(ids(40)));
  EXPECT_THAT(m->find_call("b"), Optional(ids(10)));
  EXPECT_THAT(m->find_call("c"), Optional(ids(20)));
  EXPECT_THAT(m->find_turn({1, 2}), Optional(ids(10)));
  EXPECT_THAT(m->find_turn({7, 8}), Optional(ids(10)));
  EXPECT_THAT(m->find_turn({3, 4}), Optional(ids(30)));
  EXPECT_FALSE(m->find_turn({2, 1}));
}

TEST_F(TurnMemoryTest, WritesWhatItKnowsOnce) {
  auto m = open();
  ASSERT_TRUE(remember(*m, {{1, 2}}, {"a"}, ids(10)));
  const auto size = m->file_bytes();
  ASSERT_TRUE(remember(*m, {{1, 2}}, {"a"}, ids(10)));
  ASSERT_TRUE(m->remember_call("a", ids(10)));
  EXPECT_EQ(m->file_bytes(), size);
}

TEST_F(TurnMemoryTest, RefusesWhatItCannotRemember) {
  auto m = open();
  EXPECT_EQ(m->remember_call("", ids(1)).error().code, ErrorCode::kUsage);
  EXPECT_EQ(m->remember_call("a", {}).error().code, ErrorCode::kUsage);
  EXPECT_EQ(m->remember_call(std::string(257, 'x'), ids(1)).error().code, ErrorCode::kUsage);
  EXPECT_EQ(m->remember_call("a", ids(1, 200001)).error().code, ErrorCode::kUsage);
  EXPECT_TRUE(m->remember_call("a", ids(1, 200000)));
}

TEST_F(TurnMemoryTest, ATornEndIsCutAndDamageRefused) {
  std::int64_t before = 0;
  {
    auto m = open();
    ASSERT_TRUE(m->remember_call("first", ids(1)));
    before = m->file_bytes();
    ASSERT_TRUE(remember(*m, {{5, 6}}, {"second"}, ids(2)));
  }
  const std::string whole = read();
  for (std::size_t end = static_cast<std::size_t>(before); end < whole.size(); ++end) {
    write(whole.substr(0, end));
    auto m = open();
    ASSERT_TRUE(m) << end << ": " << m.error().what;
    EXPECT_EQ(m->cut_bytes(), static_cast<std::int64_t>(end) - before);
    EXPECT_TRUE(m->find_call("first"));
    EXPECT_FALSE(m->find_call("second"));
  }
  for (std::size_t byte = 0; byte < static_cast<std::size_t>(before); ++byte) {
    std::string bad = whole;
    bad[byte] = static_cast<char>(bad[byte] ^ 0x10);
    write(bad);
    EXPECT_FALSE(open()) << byte;
  }
  write(whole);
  EXPECT_THAT(TurnMemory::open(path_, 78, options_).error().what, HasSubstr("another model's tokens"));
}

TEST_F(TurnMemoryTest, StaysWithinItsBoundAndKeepsTheNewest) {
  options_.most_bytes = 20000;
  std::map<std::string, std::vector<TokenId>> latest;
  std::mt19937 random(3);
  auto m = open();
  for (int i = 0; i < 2000; ++i) {
    const std::string call = "call_" + std::to_string(random() % 500);
    const auto turn = ids(i, 1 + random() % 30);
    ASSERT_TRUE(m->remember_call(call, turn));
    latest[call] = turn;
    ASSERT_THAT(m->find_call(call), Optional(turn));
    ASSERT_LE(m->file_bytes(), options_.most_bytes);
    if (random() % 200 == 0) {
      {
        const auto closing = std::move(*m);
      }
      auto opened = open();
      ASSERT_TRUE(opened) << opened.error().what;
      m.emplace(std::move(*opened));
    }
  }
  std::size_t found = 0;
  for (const auto& [call, turn] : latest) {
    const auto known = m->find_call(call);
    EXPECT_TRUE(!known || *known == turn) << call;  // forgotten or right, never old
    found += known.has_value();
  }
  EXPECT_GT(found, 100u);
  EXPECT_LT(found, 500u);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".compact"));
}

// The bytes of version 1; a change of the format is a new version and a new set of bytes.
TEST_F(TurnMemoryTest, WritesTheDocumentedBytes) {
  {
    auto m = open();
    ASSERT_TRUE(remember(*m, {{1, 2}}, {"ab"}, ids(5, 2)));
  }
  std::string hex;
  for (const char c : read()) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  EXPECT_EQ(hex,
            // Header: magic, version, the tokenizer's fingerprint, checksum.
            "484144414c54524e"
            "01000000"
            "08000000"
            "4d00000000000000"
            "18ca443d253a2b6c"
            // One turn: has a key, the key, one call "ab", tokens 5 and 6, zeros, checksum.
            "2a000000"
            "0100"
            "0000"
            "01000000"
            "0100000000000000"
            "0200000000000000"
            "01000000"
            "02000000"
            "6162"
            "02000000"
            "05000000"
            "06000000"
            "0000"
            "526aca58af022cfd");
}

}  // namespace
}  // namespace hadal
