// What is refused, and that the sentence names the field.
#include "tokens/tokenizer_json.h"

#include <gtest/gtest.h>

#include "tokens/made_up.h"

namespace hadal::tokens {
namespace {

using nlohmann::json;
using test::made_up_json;
using test::refusal;

json base() { return made_up_json({{"a", "b"}, {"ab", "c"}}, {"<x>", "<y>"}); }

// Loads the base document with the value at `pointer` replaced, and expects a refusal that says `expected`.
void expect_refusal(const std::string& pointer, const json& value, const std::string& expected) {
  json document = base();
  document[json::json_pointer(pointer)] = value;
  const std::string message = refusal(document);
  EXPECT_NE(message.find(expected), std::string::npos) << pointer << " = " << value << " gives: " << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_EQ(message.rfind("made up: ", 0), 0u) << message;
}

TEST(TokenizerJson, AcceptsTheBase) { EXPECT_EQ(refusal(base()), ""); }

TEST(TokenizerJson, RefusesOtherPipelines) {
  expect_refusal("/version", "2.0", "'version' is \"2.0\"");
  expect_refusal("/truncation", {{"max_length", 5}}, "'truncation'");
  expect_refusal("/padding", {{"strategy", "BatchLongest"}}, "'padding'");
  expect_refusal("/something", 1, "'something' is not a field known here");
  expect_refusal("/normalizer", {{"type", "NFC"}}, "'normalizer.type' is \"NFC\"");
  expect_refusal("/normalizer/normalizers", {{{"type", "NFC"}}}, "'normalizer.normalizers' is not empty");
  expect_refusal("/post_processor", {{"type", "TemplateProcessing"}}, "'post_processor.type'");
  expect_refusal("/decoder", {{"type", "WordPiece"}}, "'decoder.type'");
  expect_refusal("/decoder", nullptr, "'decoder' is missing");
  expect_refusal("/model/type", "Unigram", "'model.type' is \"Unigram\", not the expected BPE");
  expect_refusal("/model/byte_fallback", true, "'model.byte_fallback' is true");
  expect_refusal("/model/fuse_unk", true, "'model.fuse_unk' is true");
  expect_refusal("/model/ignore_merges", true, "'model.ignore_merges' is true");
  expect_refusal("/model/dropout", 0.1, "'model.dropout' is 0.1");
  expect_refusal("/model/unk_token", "<unk>", "'model.unk_token' is \"<unk>\"");
  expect_refusal("/model/continuing_subword_prefix", "##", "'model.continuing_subword_prefix'");
  expect_refusal("/model/end_of_word_suffix", "</w>", "'model.end_of_word_suffix'");
  expect_refusal("/model/novelty", 1, "'model.novelty' is not a field known here");
}

TEST(TokenizerJson, RefusesOtherSplits) {
  const std::string list = "/pre_tokenizer/pretokenizers";
  expect_refusal("/pre_tokenizer", nullptr, "'pre_tokenizer' is not an object");
  expect_refusal("/pre_tokenizer/type", "Whitespace", "'pre_tokenizer.type'");
  expect_refusal(list, json::array(), "has 0 entries");
  expect_refusal(list + "/0/pattern/Regex", "\\p{N}{1,2}", "'pre_tokenizer.pretokenizers[0].pattern.Regex'");
  expect_refusal(list + "/1/pattern/Regex", "[一-龥]+", "pretokenizers[1].pattern.Regex' is \"[一-龥]+\"");
  expect_refusal(list + "/2/pattern/Regex", "\\s+\n",
                 "pretokenizers[2].pattern.Regex' is \"\\\\s+\\n\", not the expected pattern");
  expect_refusal(list + "/0/pattern", {{"String", " "}},
                 "'pre_tokenizer.pretokenizers[0].pattern.String' is not a field known here");
  expect_refusal(list + "/0/behavior", "Removed", "[0].behavior' is \"Removed\"");
  expect_refusal(list + "/2/invert", true, "[2].invert' is true");
  expect_refusal(list + "/1/type", "Digits", "[1].type' is \"Digits\"");
  expect_refusal(list + "/3/type", "Metaspace", "[3].type' is \"Metaspace\"");
  expect_refusal(list + "/3/use_regex", true, "[3].use_regex' is true");
  expect_refusal(list + "/3/add_prefix_space", true, "[3].add_prefix_space' is true");
  json document = base();
  document["pre_tokenizer"]["pretokenizers"][3].erase("use_regex");  // true is the default
  EXPECT_NE(refusal(document).find("[3].use_regex' is missing"), std::string::npos) << refusal(document);
}

TEST(TokenizerJson, RefusesAddedTokensThatNeedMoreThanTheirText) {
  for (std::string flag : {"single_word", "lstrip", "rstrip"}) {
    expect_refusal("/added_tokens/1/" + flag, true, "'added_tokens[1]." + flag + "' is true");
  }
  expect_refusal("/added_tokens/0/content", "", "'added_tokens[0].content' has 0 bytes");
  expect_refusal("/added_tokens/0/content", std::string(2000, 'x'), "has 2000 bytes, outside 1..1024");
  expect_refusal("/added_tokens/0/content", 5, "'added_tokens[0].content' is not a string");
  expect_refusal("/added_tokens/0/special", "yes", "'added_tokens[0].special' is not true or false");
  expect_refusal("/added_tokens/0/id", -1, "'added_tokens[0].id' is -1");
  expect_refusal("/added_tokens/0/id", 1 << 20, "'added_tokens[0].id' is 1048576");
  expect_refusal("/added_tokens/0/id", 1.5, "'added_tokens[0].id' is not an integer");
  expect_refusal("/added_tokens/0/id", 1e300, "'added_tokens[0].id' is not an integer");
  expect_refusal("/added_tokens", 1, "'added_tokens' is not a list");
}

TEST(TokenizerJson, RefusesBrokenTables) {
  expect_refusal("/model/vocab/a", -1, "'model.vocab' gives 'a'");
  expect_refusal("/model/vocab/a", "x", "'model.vocab' gives 'a'");
  expect_refusal("/model/vocab", json::array(), "'model.vocab' is not an object");
  expect_refusal("/model/merges", "x", "'model.merges' is not a list");
  for (const json& merge : {json("ab"), json("a b c"), json(" b"), json("a "), json({"a"}), json({"a", "b", "c"}),
                            json({"a", 1}), json(7)}) {
    expect_refusal("/model/merges/0", merge, "'model.merges[0]' is neither");
  }
}

TEST(TokenizerJson, AcceptsMergesAsPairsAndNullFields) {
  json document = base();
  document["model"]["merges"] = json::parse(R"([["a", "b"], ["ab", "c"]])");
  document["model"]["ignore_merges"] = false;
  document["novelty"] = nullptr;
  document["normalizer"] = nullptr;
  document["model"]["end_of_word_suffix"] = "";
  ASSERT_EQ(refusal(document), "");
  EXPECT_EQ(test::load_json(document)->encode("abcab<x>"), test::load_json(base())->encode("abcab<x>"));
}

TEST(TokenizerJson, RefusesWhatIsNotJson) {
  for (std::string text : {"", "{", "[]", "nul", "{\"version\": \"1.0\"", "\xff"}) {
    const auto tokenizer = Tokenizer::from_json(text, "made up");
    ASSERT_FALSE(tokenizer) << text;
    EXPECT_EQ(tokenizer.error().what.rfind("made up: ", 0), 0u);
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kBadInput);
  }
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_FALSE(Tokenizer::from_json(deep, "made up"));
}

TEST(TokenizerJson, ShowsLongValuesShortAndWellFormed) {
  json document = base();
  std::string version;
  for (int i = 0; i < 1000; ++i) version += "中";
  for (std::string prefix : {"", "a", "ab"}) {
    document["version"] = prefix + version;
    const std::string message = refusal(document);
    EXPECT_LT(message.size(), 300u);
    Utf8Stream stream;
    std::string text;
    stream.push(message, text);
    EXPECT_EQ(text, message);
  }
}

TEST(TokenizerJson, NamesTheFileItCannotOpen) {
  const auto tokenizer = Tokenizer::load("/nonexistent/tokenizer.json");
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
  EXPECT_NE(tokenizer.error().what.find("/nonexistent/tokenizer.json"), std::string::npos);
  EXPECT_FALSE(Tokenizer::load(HADAL_SOURCE_DIR));  // a directory
}

}  // namespace
}  // namespace hadal::tokens
