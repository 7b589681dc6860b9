// A file may be well-formed and still not fit together.
#include "tokens/vocabulary.h"

#include <gtest/gtest.h>

#include "tokens/made_up.h"

namespace hadal::tokens {
namespace {

using nlohmann::json;
using test::made_up_json;
using test::refusal;

void expect_refusal(const json& document, const std::string& expected) {
  const std::string message = refusal(document);
  EXPECT_NE(message.find(expected), std::string::npos) << message;
}

TEST(Vocabulary, KnowsTheNanoLayout) {
  const Tokenizer& nano = test::nano();
  EXPECT_EQ(nano.vocab_size(), 1024);
  EXPECT_EQ(nano.bytes_of(TokenId{3}), "!");
  EXPECT_EQ(nano.bytes_of(TokenId{0}), "<｜begin▁of▁sentence｜>");
  EXPECT_TRUE(nano.is_special(TokenId{0}));
  EXPECT_FALSE(nano.is_special(*nano.find_added("<think>")));
  EXPECT_TRUE(nano.is_added(*nano.find_added("<think>")));
  EXPECT_FALSE(nano.is_added(TokenId{3}));
}

TEST(Vocabulary, AnyIdMayBeAskedFor) {
  const Tokenizer& nano = test::nano();
  for (std::int32_t id : {-1, -2147483647 - 1, 1024, 1025, 129279, 2147483647}) {
    EXPECT_EQ(nano.bytes_of(TokenId{id}), "");
    EXPECT_FALSE(nano.contains(TokenId{id}));
    EXPECT_FALSE(nano.is_added(TokenId{id}));
    EXPECT_FALSE(nano.is_special(TokenId{id}));
    EXPECT_FALSE(nano.decode(std::vector{TokenId{id}}));
  }
}

TEST(Vocabulary, IdsMayLieAnywhereAndLeaveGaps) {
  json document = made_up_json({{"a", "b"}});
  int id = 5000;
  for (auto& [text, value] : document["model"]["vocab"].items()) value = id -= 3;
  const auto tokenizer = test::load_json(document);
  const auto ids = tokenizer->encode("xab");
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_EQ(tokenizer->decode(ids).value(), "xab");
  EXPECT_FALSE(tokenizer->contains(TokenId{0}));
  EXPECT_FALSE(tokenizer->decode(std::vector{TokenId{0}}));
}

TEST(Vocabulary, RefusesMissingBytes) {
  json document = made_up_json({});
  document["model"]["vocab"].erase("Ġ");
  expect_refusal(document, "no token for the byte 0x20");
}

TEST(Vocabulary, RefusesAByteThatIsOnlyAnAddedToken) {
  json document = made_up_json({}, {"x"});
  document["added_tokens"][0]["id"] = document["model"]["vocab"]["x"];
  expect_refusal(document, "no token for the byte 0x78");
}

TEST(Vocabulary, RefusesMergesThatDoNotFit) {
  json document = made_up_json({{"a", "b"}, {"ab", "c"}});
  std::swap(document["model"]["merges"][0], document["model"]["merges"][1]);
  expect_refusal(document, "'model.merges[0]' joins 'ab' and 'c', of which one is not made by an earlier merge");

  document = made_up_json({{"a", "b"}});
  document["model"]["merges"].push_back("b a");
  expect_refusal(document, "'model.merges[1]' makes 'ba', which 'model.vocab' lacks");

  document = made_up_json({{"a", "b"}, {"b", "c"}, {"a", "bc"}});
  document["model"]["merges"].push_back("ab c");
  expect_refusal(document, "'model.merges[3]' makes 'abc' a second time");

  document = made_up_json({{"a", "b"}});
  document["model"]["merges"].push_back("a b");
  expect_refusal(document, "a second time");
}

TEST(Vocabulary, RefusesTokensNobodyMakes) {
  json document = made_up_json({{"a", "b"}});
  document["model"]["vocab"]["zz"] = 300;
  expect_refusal(document, "token 300 is neither a byte nor an added token");
}

TEST(Vocabulary, RefusesDoubles) {
  json document = made_up_json({{"a", "b"}});
  document["model"]["vocab"]["ab"] = 7;
  expect_refusal(document, "gives id 7 twice");

  document = made_up_json({}, {"<x>", "<y>"});
  document["added_tokens"][1]["id"] = document["added_tokens"][0]["id"];
  expect_refusal(document, "two added tokens have id 256");

  document = made_up_json({}, {"<x>", "<x>"});
  expect_refusal(document, "the added token '<x>' is listed twice");

  document = made_up_json({}, {"<x>"});
  document["model"]["vocab"]["<z>"] = 256;
  expect_refusal(document, "id 256 is '<z>' in 'model.vocab' and an added token with another content");

  std::string text = made_up_json({}).dump();
  text.insert(text.find("\"vocab\":{") + 9, "\"a\":999,");
  const auto twice = Tokenizer::from_json(text, "made up");
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().what.find("lists 'a' twice"), std::string::npos) << twice.error().what;
}

TEST(Vocabulary, RefusesTextOutsideTheByteAlphabet) {
  json document = made_up_json({});
  document["model"]["vocab"]["中"] = 300;
  expect_refusal(document, "'中', which is not written in the byte alphabet");
  document = made_up_json({});
  document["model"]["vocab"][""] = 300;
  expect_refusal(document, "not written in the byte alphabet");
}

TEST(Vocabulary, RefusesVeryLongTokens) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (std::size_t n = 1; n <= 1024; n *= 2) merges.emplace_back(std::string(n, 'a'), std::string(n, 'a'));
  expect_refusal(made_up_json(merges), "has 2048 bytes, more than 1024");
  merges.pop_back();
  EXPECT_EQ(refusal(made_up_json(merges)), "");
}

}  // namespace
}  // namespace hadal::tokens
