#include "tokens/piece_cache.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace hadal::tokens {
namespace {

PieceCache::Key key(const std::string& piece) { return PieceCache::key_of(piece, piece.size()); }

TEST(PieceCache, KeysTellLengthAndZerosApart) {
  EXPECT_EQ(key("abc"), key("abc"));
  EXPECT_FALSE(key("abc") == key("abd"));
  EXPECT_FALSE(key(std::string("a\0", 2)) == key("a"));
  EXPECT_FALSE(key("12345678") == key("123456789"));
  EXPECT_FALSE(key("123456789012345") == key("123456789012346"));
}

TEST(PieceCache, KeysDoNotDependOnWhatFollows) {
  const std::string text = "0123456789abcdefghijklmnopqrstuvwxyz";
  for (std::size_t n = 1; n <= PieceCache::kMaxPieceBytes; ++n) {
    const std::string piece = text.substr(0, n);
    // A buffer of exactly n bytes: reading more would be seen by the address sanitizer.
    const auto exact = std::make_unique<char[]>(n);
    std::copy(piece.begin(), piece.end(), exact.get());
    EXPECT_EQ(PieceCache::key_of({exact.get(), n}, n),
              PieceCache::key_of(std::string_view(text).substr(0, n), text.size()))
        << n;
  }
}

TEST(PieceCache, RemembersUntilCleared) {
  PieceCache cache;
  const TokenId ids[] = {TokenId{7}, TokenId{8}, TokenId{9}};
  EXPECT_TRUE(cache.find(key("x")).empty());
  cache.insert(key("x"), ids);
  cache.insert(key("y"), std::span(ids, 1));
  ASSERT_EQ(cache.find(key("x")).size(), 3u);
  EXPECT_EQ(cache.find(key("x"))[2], TokenId{9});
  EXPECT_EQ(cache.find(key("y")).size(), 1u);
  cache.clear();
  EXPECT_TRUE(cache.find(key("x")).empty());
}

TEST(PieceCache, OverfullItForgetsButNeverLies) {
  PieceCache cache;
  int remembered = 0;
  constexpr int kPieces = 100000;
  for (int i = 0; i < kPieces; ++i) {
    const TokenId id{i};
    cache.insert(key(std::to_string(i)), std::span(&id, 1));
  }
  for (int i = 0; i < kPieces; ++i) {
    const auto ids = cache.find(key(std::to_string(i)));
    if (ids.empty()) continue;
    ++remembered;
    ASSERT_EQ(ids.size(), 1u);
    ASSERT_EQ(ids[0], TokenId{i});
  }
  EXPECT_GT(remembered, 12000);  // of 16384 places: the hash spreads
}

}  // namespace
}  // namespace hadal::tokens
