#include "tokens/byte_trie.h"

#include <gtest/gtest.h>

#include <map>

#include "tokens/samples.h"

namespace hadal::tokens {
namespace {

ByteTrie trie_of(const std::map<std::string, std::uint32_t>& entries) {
  std::vector<ByteTrie::Entry> sorted;
  for (const auto& [bytes, value] : entries) sorted.push_back({bytes, value});
  return ByteTrie(sorted);
}

TEST(ByteTrie, AnEmptyOneMatchesNothing) {
  EXPECT_EQ(ByteTrie().longest("abc").length, 0u);
  EXPECT_EQ(trie_of({}).longest("abc").length, 0u);
  EXPECT_EQ(trie_of({}).longest(std::string(1, '\0')).length, 0u);
}

TEST(ByteTrie, FindsTheLongestPrefix) {
  const ByteTrie trie = trie_of({{"a", 1}, {"abc", 2}, {"abcde", ByteTrie::kMaxValue - 1}, {std::string(2, '\0'), 0}});
  EXPECT_EQ(trie.longest("").length, 0u);
  EXPECT_EQ(trie.longest("b").length, 0u);
  EXPECT_EQ(trie.longest("ab").value, 1u);
  EXPECT_EQ(trie.longest("abcd").value, 2u);
  EXPECT_EQ(trie.longest("abcd").length, 3u);
  EXPECT_EQ(trie.longest("abcdef").value, ByteTrie::kMaxValue - 1);
  EXPECT_EQ(trie.longest(std::string(1, '\0')).length, 0u);
  EXPECT_EQ(trie.longest(std::string(3, '\0')).length, 2u);
}

TEST(ByteTrie, AgreesWithSearchOnRandomSets) {
  test::Random random(3);
  for (int round = 0; round < 60; ++round) {
    // Few letters give deep tries with shared prefixes, many give wide nodes.
    const std::size_t letters = round % 3 == 0 ? 2 : round % 3 == 1 ? 9 : 256;
    auto word = [&](std::size_t longest) {
      std::string text;
      for (std::size_t n = 1 + test::below(random, longest); n > 0; --n)
        text += static_cast<char>(test::below(random, letters));
      return text;
    };
    std::map<std::string, std::uint32_t> entries;
    for (std::uint32_t i = 0; i < 2000; ++i) entries[word(letters == 2 ? 14 : 4)] = i;
    const ByteTrie trie = trie_of(entries);
    for (int i = 0; i < 2000; ++i) {
      const std::string text = word(16);
      std::size_t expected = text.size();
      while (expected > 0 && !entries.contains(text.substr(0, expected))) --expected;
      const auto match = trie.longest(text);
      ASSERT_EQ(match.length, expected);
      if (expected == 0) continue;
      ASSERT_EQ(match.value, entries[text.substr(0, expected)]);
    }
  }
}

}  // namespace
}  // namespace hadal::tokens
