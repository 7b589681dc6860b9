#include "weights/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using testing::HasSubstr;

TEST(Config, ReadsEveryField) {
  const auto c = parse_config(test::TinyCheckpoint::generate(test::tiny_pro()).config, "config.json");
  ASSERT_TRUE(c) << c.error().what;
  EXPECT_EQ(c->vocab_size, 128);
  EXPECT_EQ(c->hidden_size, 128);
  EXPECT_EQ(c->num_hidden_layers, 5);
  EXPECT_EQ(c->num_hash_layers, 2);
  EXPECT_EQ(c->num_nextn_predict_layers, 1);
  EXPECT_EQ(c->num_attention_heads, 8);
  EXPECT_EQ(c->head_dim, 192);
  EXPECT_EQ(c->qk_rope_head_dim, 64);
  EXPECT_EQ(c->q_lora_rank, 64);
  EXPECT_EQ(c->o_groups, 4);
  EXPECT_EQ(c->o_lora_rank, 32);
  EXPECT_EQ(c->sliding_window, 32);
  EXPECT_EQ(c->compress_ratios, (std::vector<std::int64_t>{128, 128, 4, 128, 4, 0}));
  EXPECT_EQ(c->index_topk, 8);
  EXPECT_EQ(c->routed_scaling_factor, 1.5);
  EXPECT_EQ(c->swiglu_limit, 10);
  EXPECT_EQ(c->hc_mult, 4);
  EXPECT_EQ(c->hc_eps, 1e-6) << "the default: releases do not have the key";
  EXPECT_EQ(c->compress_rope_theta, 160000);
  EXPECT_EQ(c->rope_scaling.factor, 16);
  EXPECT_EQ(c->rope_scaling.original_max_position_embeddings, 65536);
  EXPECT_EQ(c->weight_block_size, 128);
  EXPECT_FALSE(c->has_dspark);
  EXPECT_EQ(c->kind(0), AttentionKind::kHca);
  EXPECT_EQ(c->kind(2), AttentionKind::kCsa);
  EXPECT_EQ(c->kind(5), AttentionKind::kSwa) << "the MTP block";
}

TEST(Config, DsparkReplacesTheOneStepBlock) {
  const auto c = parse_config(test::TinyCheckpoint::generate(test::tiny_0731()).config, "config.json");
  ASSERT_TRUE(c) << c.error().what;
  EXPECT_TRUE(c->has_dspark);
  EXPECT_EQ(c->dspark_blocks, 3);
  EXPECT_EQ(c->num_nextn_predict_layers, 0);
  EXPECT_EQ(c->compress_ratios.size(), 4u);
}

struct Change {
  const char* name;
  const char* key;
  const char* value;  // null removes the key
};

Result<ModelConfig> parse_changed(std::initializer_list<Change> changes) {
  static const std::string config = test::TinyCheckpoint::generate(test::tiny_flash()).config;
  test::TinyCheckpoint tiny;
  tiny.config = config;
  for (const Change& c : changes) c.value ? tiny.set_config(c.key, c.value) : tiny.remove_config(c.key);
  return parse_config(tiny.config, "config.json");
}

TEST(Config, AcceptsWhatReleasesVary) {
  // Extra trailing zeros, no quantization_config, no swiglu_limit, hc_eps given, unknown keys that transformers writes.
  EXPECT_TRUE(parse_changed({{"", "compress_ratios", "[0,4,128,4,0,0,0]"}}));
  EXPECT_TRUE(parse_changed({{"", "quantization_config", nullptr}}));
  const auto no_clamp = parse_changed({{"", "swiglu_limit", nullptr}});
  ASSERT_TRUE(no_clamp);
  EXPECT_EQ(no_clamp->swiglu_limit, 0);
  const auto eps = parse_changed({{"", "hc_eps", "1e-5"}});
  ASSERT_TRUE(eps);
  EXPECT_EQ(eps->hc_eps, 1e-5);
  EXPECT_TRUE(
      parse_changed({{"", "use_cache", "true"}, {"", "initializer_range", "0.02"}, {"", "expert_dtype", "\"fp4\""}}));
  const auto plain = parse_changed({{"", "rope_scaling", nullptr}});
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->rope_scaling.original_max_position_embeddings, 0);
  const auto no_mtp = parse_changed({{"", "num_nextn_predict_layers", "0"}});
  ASSERT_TRUE(no_mtp);
  EXPECT_EQ(no_mtp->compress_ratios.size(), 4u);
}

struct Refusal {
  Change change;
  ErrorCode code;
  const char* says;
};

class ConfigRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(ConfigRefuses, InOneSentence) {
  const Refusal& p = GetParam();
  const auto c = parse_changed({p.change});
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().code, p.code) << c.error().what;
  EXPECT_THAT(c.error().what, HasSubstr("config.json"));
  EXPECT_THAT(c.error().what, HasSubstr(p.says));
}

constexpr auto kBad = ErrorCode::kBadInput;
constexpr auto kNo = ErrorCode::kUnsupported;
INSTANTIATE_TEST_SUITE_P(
    Cases, ConfigRefuses,
    testing::Values(
        Refusal{{"v41", "model_type", "\"deepseek_v41\""}, kNo, "V4.1"},
        Refusal{{"v3", "model_type", "\"deepseek_v3\""}, kNo, "'deepseek_v3'"},
        Refusal{{"notype", "model_type", nullptr}, kBad, "model_type"},
        Refusal{{"vision", "vision_max_n_token", "384"}, kNo, "vision model"},
        Refusal{{"textconfig", "text_config", "{}"}, kNo, "V4.1"}, Refusal{{"engram", "engram", "{}"}, kNo, "V4.1"},
        Refusal{{"scoring", "scoring_func", "\"sigmoid\""}, kNo, "sigmoid"},
        Refusal{{"act", "hidden_act", "\"gelu\""}, kNo, "gelu"},
        Refusal{{"topkmethod", "topk_method", "\"greedy\""}, kNo, "greedy"},
        Refusal{{"normtopk", "norm_topk_prob", "false"}, kNo, "norm_topk_prob"},
        Refusal{{"tied", "tie_word_embeddings", "true"}, kNo, "tie_word_embeddings"},
        Refusal{{"kvheads", "num_key_value_heads", "8"}, kNo, "num_key_value_heads"},
        Refusal{{"shared", "n_shared_experts", "2"}, kNo, "n_shared_experts"},
        Refusal{
            {"ropetype", "rope_scaling",
             R"({"type":"linear","factor":2,"original_max_position_embeddings":4096,"beta_fast":32,"beta_slow":1})"},
            kNo,
            "linear"},
        Refusal{{"ropenotype", "rope_scaling", R"({"factor":2})"}, kBad, "type"},
        Refusal{{"ropelist", "rope_scaling", "[1]"}, kBad, "not an object"},
        Refusal{{"block32", "quantization_config", R"({"quant_method":"fp8","weight_block_size":[32,32]})"},
                kNo,
                "32 x 32"},
        Refusal{{"int4", "quantization_config", R"({"quant_method":"awq"})"}, kNo, "awq"},
        Refusal{{"mtp2", "num_nextn_predict_layers", "2"}, kNo, "num_nextn_predict_layers"},
        Refusal{{"short", "compress_ratios", "[0,4,128]"}, kBad, "compress_ratios has 3 entries"},
        Refusal{{"extra", "compress_ratios", "[0,4,128,4,0,4]"}, kBad, "not all 0"},
        Refusal{{"ratioNegative", "compress_ratios", "[0,-4,128,4,0]"}, kBad, "entry 1"},
        Refusal{{"ratioText", "compress_ratios", "[0,\"4\"]"}, kBad, "entry 1"},
        Refusal{{"ratioScalar", "compress_ratios", "4"}, kBad, "not a list"},
        Refusal{{"missing", "hidden_size", nullptr}, kBad, "'hidden_size' is missing"},
        Refusal{{"null", "hidden_size", "null"}, kBad, "missing"},
        Refusal{{"text", "hidden_size", "\"128\""}, kBad, "not an integer"},
        Refusal{{"real", "hidden_size", "128.5"}, kBad, "not an integer"},
        Refusal{{"huge", "hidden_size", "99999999999999999999"}, kBad, "not"},
        Refusal{{"zero", "vocab_size", "0"}, kBad, "vocab_size"},
        Refusal{{"negative", "index_topk", "-1"}, kBad, "index_topk"},
        Refusal{{"eps", "rms_norm_eps", "-1"}, kBad, "rms_norm_eps"},
        Refusal{{"epsText", "rms_norm_eps", "\"a\""}, kBad, "not a number"},
        Refusal{{"groups", "o_groups", "3"}, kBad, "o_groups 3"},
        Refusal{{"headdim", "head_dim", "100"}, kBad, "multiple of 64"},
        Refusal{{"headrope", "head_dim", "64"}, kBad, "multiple of 64"},
        Refusal{{"indexdim", "index_head_dim", "96"}, kBad, "power of two"},
        Refusal{{"indexsmall", "index_head_dim", "32"}, kBad, "smaller than qk_rope_head_dim"},
        Refusal{{"topk", "num_experts_per_tok", "5"}, kBad, "more than n_routed_experts"},
        Refusal{{"hash", "num_hash_layers", "9"}, kBad, "num_hash_layers 9"},
        Refusal{{"eos", "eos_token_id", "128"}, kBad, "outside the vocabulary"},
        Refusal{{"eoslist", "eos_token_id", "[1,2]"}, kBad, "not an integer"}),
    [](const auto& test) { return std::string(test.param.change.name); });

TEST(Config, TableStaysBounded) {
  std::string ratios = "[0";
  for (int i = 1; i < 4001; ++i) ratios += ",0";
  const auto c = parse_changed({{"", "num_hidden_layers", "4000"},
                                {"", "compress_ratios", (ratios + "]").c_str()},
                                {"", "n_routed_experts", "65536"}});
  ASSERT_FALSE(c);
  EXPECT_THAT(c.error().what, HasSubstr("in all"));
}

TEST(Config, ResavedByTransformers) {
  const auto c = parse_changed({{"", "compress_ratios", nullptr}, {"", "layer_types", "[\"sliding_attention\"]"}});
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(c.error().what, HasSubstr("re-saved by transformers"));
}

TEST(Config, NotJson) {
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), std::string("{\"a\": \xff}"),
        std::string(200000, '['), "{\"a\":" + std::string(500, '[') + std::string(500, ']') + "}",
        std::string(2 << 20, ' '), std::string("{\"model_type\":\"deepseek_v4\",\"model_type\":\"x\"}")}) {
    const auto c = parse_config(text, "config.json");
    ASSERT_FALSE(c);
    EXPECT_EQ(c.error().code, ErrorCode::kBadInput);
    EXPECT_LT(c.error().what.size(), 300u);
  }
}

}  // namespace
}  // namespace hadal
