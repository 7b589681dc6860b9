#include "tokens/added_tokens.h"

#include <gtest/gtest.h>

#include "tokens/made_up.h"
#include "tokens/samples.h"

namespace hadal::tokens {
namespace {

using test::numbers;

TEST(AddedTokens, TakesTheLeftmostThenTheLongest) {
  const auto tokenizer = test::load_json(test::made_up_json({}, {"<ab>", "<ab>c", "b>cd", "zz", "z"}));
  const auto id = [&](std::string_view content) { return to_int(*tokenizer->find_added(content)); };
  EXPECT_EQ(numbers(tokenizer->encode("<ab>cd")), (std::vector{id("<ab>c"), int{'d'}}));
  EXPECT_EQ(numbers(tokenizer->encode("<ab>d")), (std::vector{id("<ab>"), int{'d'}}));
  EXPECT_EQ(numbers(tokenizer->encode("<b>cd")), (std::vector{int{'<'}, id("b>cd")}));
  EXPECT_EQ(numbers(tokenizer->encode("zzz")), (std::vector{id("zz"), id("z")}));
  EXPECT_EQ(numbers(tokenizer->encode("<a<ab>")), (std::vector{int{'<'}, int{'a'}, id("<ab>")}));
  EXPECT_EQ(numbers(tokenizer->encode("<ab")), (std::vector{int{'<'}, int{'a'}, int{'b'}}));
}

TEST(AddedTokens, FindsWholeContentsOnly) {
  EXPECT_TRUE(test::nano().find_added("<think>"));
  EXPECT_TRUE(test::nano().find_added("｜DSML｜"));
  for (std::string_view content : {"", "<", "<think", "<think>>", " <think>", "a", "<|User|>"}) {
    EXPECT_FALSE(test::nano().find_added(content)) << content;
  }
}

TEST(AddedTokens, EachEncodesToItselfAndNothingElse) {
  for (const Tokenizer* tokenizer : {&test::nano(), test::official()}) {
    if (tokenizer == nullptr) continue;
    for (std::int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
      if (!tokenizer->is_added(TokenId{id})) continue;
      const std::string content(tokenizer->bytes_of(TokenId{id}));
      EXPECT_EQ(numbers(tokenizer->encode(content)), std::vector{id}) << content;
      EXPECT_EQ(tokenizer->find_added(content), TokenId{id});
      for (TokenId part : tokenizer->encode_literal(content)) EXPECT_FALSE(tokenizer->is_added(part)) << content;
    }
  }
}

// Leftmost-longest by trying every content at every place.
TEST(AddedTokens, AgreesWithSearch) {
  test::Random random(17);
  const std::vector<std::string> contents = {"<a", "<a>", "<ab>", "ab>", ">", "><", "<<a"};
  const auto tokenizer = test::load_json(test::made_up_json({}, contents));
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    for (std::size_t n = test::below(random, 14); n > 0; --n) text += "<ab>"[test::below(random, 4)];
    std::vector<std::int32_t> expected;
    for (std::size_t i = 0; i < text.size();) {
      std::string best;
      for (const std::string& content : contents) {
        if (text.compare(i, content.size(), content) == 0 && content.size() > best.size()) best = content;
      }
      expected.push_back(best.empty() ? text[i] : to_int(*tokenizer->find_added(best)));
      i += std::max<std::size_t>(best.size(), 1);
    }
    ASSERT_EQ(numbers(tokenizer->encode(text)), expected) << text;
  }
}

}  // namespace
}  // namespace hadal::tokens
