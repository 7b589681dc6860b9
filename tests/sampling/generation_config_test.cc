#include "sampling/generation_config.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

Result<GenerationConfig> parse(std::string_view json) { return parse_generation_config(json, "gen.json"); }

std::string error_of(std::string_view json) {
  auto got = parse(json);
  return got ? "no error" : got.error().what;
}

TEST(GenerationConfig, TheReleaseFile) {
  auto c = parse(R"({"_from_model_config": true, "bos_token_id": 0, "eos_token_id": 1, "do_sample": true,
                     "temperature": 1.0, "top_p": 1.0, "transformers_version": "4.46.3"})");
  ASSERT_TRUE(c) << c.error().what;
  EXPECT_TRUE(c->do_sample);
  EXPECT_EQ(c->temperature, 1.0);
  EXPECT_EQ(c->top_p, 1.0);
  EXPECT_EQ(c->eos_token_ids, std::vector<TokenId>{TokenId{1}});
  EXPECT_EQ(c->sampling().stop_ids, std::vector<TokenId>{TokenId{1}});
}

TEST(GenerationConfig, EverythingIsOptional) {
  auto c = parse("{}");
  ASSERT_TRUE(c);
  EXPECT_EQ(c->sampling().temperature, 1.0);
  EXPECT_TRUE(c->eos_token_ids.empty());
}

TEST(GenerationConfig, DoSampleFalseIsGreedy) {
  auto c = parse(R"({"do_sample": false, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.05})");
  ASSERT_TRUE(c);
  EXPECT_EQ(c->temperature, 0.6);
  EXPECT_EQ(c->sampling().temperature, 0.0);
  EXPECT_EQ(c->sampling().top_k, 20);
  EXPECT_EQ(c->sampling().min_p, 0.05);
}

TEST(GenerationConfig, ListsAndNulls) {
  auto c = parse(R"({"eos_token_id": [1, 128804], "temperature": null, "top_k": null})");
  ASSERT_TRUE(c) << c.error().what;
  EXPECT_EQ(c->eos_token_ids, (std::vector<TokenId>{TokenId{1}, TokenId{128804}}));
  EXPECT_EQ(c->temperature, 1.0);
  EXPECT_TRUE(parse(R"({"eos_token_id": null})")->eos_token_ids.empty());
}

TEST(GenerationConfig, BadValuesAreNamed) {
  EXPECT_EQ(error_of(R"({"temperature": "hot"})"), "gen.json: 'temperature' must be a number");
  EXPECT_EQ(error_of(R"({"temperature": -1})"),
            "gen.json: temperature is -1; it must be 0 (greedy) or from 0.000001 to 100");
  EXPECT_EQ(error_of(R"({"top_p": 0})"), "gen.json: top_p is 0; it must be above 0 and at most 1");
  EXPECT_EQ(error_of(R"({"top_k": 1.5})"), "gen.json: 'top_k' must be a whole number");
  EXPECT_EQ(error_of(R"({"do_sample": 1})"), "gen.json: 'do_sample' must be true or false");
  EXPECT_EQ(error_of(R"({"eos_token_id": "one"})"),
            "gen.json: 'eos_token_id' must be a token id or a list of token ids");
  EXPECT_EQ(error_of(R"({"eos_token_id": [1, -5]})"), "gen.json: eos_token_id -5 is not a token id");
  EXPECT_EQ(error_of(R"({"eos_token_id": 4294967296})"), "gen.json: eos_token_id 4294967296 is not a token id");
}

TEST(GenerationConfig, UnsupportedKeysAreRefusedUnlessOff) {
  EXPECT_EQ(error_of(R"({"repetition_penalty": 1.1})"),
            "gen.json: repetition_penalty = 1.1 is not supported; only 1 (off) is");
  EXPECT_EQ(error_of(R"({"num_beams": 4})"), "gen.json: num_beams = 4 is not supported; only 1 (off) is");
  EXPECT_TRUE(parse(R"({"repetition_penalty": 1.0, "num_beams": 1})"));
}

TEST(GenerationConfig, BrokenText) {
  for (const char* text :
       {"", "[]", "{", "{\"a\"", "{\"temperature\": 1", "{} x", "{\"temperature\": }", "nul", "\xff\xfe"}) {
    EXPECT_FALSE(parse(text)) << text;
  }
  EXPECT_FALSE(parse(std::string(R"({"temperature": )") + std::string(100000, '[')));
  EXPECT_FALSE(parse("{\"eos_token_id\": [" + std::string(1000, '1') + "]}"));
}

TEST(GenerationConfig, EveryPrefixIsRefused) {
  const std::string whole = R"({"do_sample": true, "temperature": 0.5, "eos_token_id": [1, 2]})";
  ASSERT_TRUE(parse(whole));
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(parse(std::string_view(whole).substr(0, n))) << n;
}

}  // namespace
}  // namespace hadal
