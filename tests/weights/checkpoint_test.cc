#include "weights/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "support/golden.h"
#include "support/tiny_checkpoint.h"
#include "weights/model_weights.h"

namespace hadal {
namespace {

using test::TinyCheckpoint;
using testing::HasSubstr;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TEST(Checkpoint, OpensEveryKind) {
  for (const test::TinyShape& shape :
       {test::tiny_flash(), test::tiny_pro(), test::tiny_base(), test::tiny_odd(), test::tiny_0731()}) {
    test::TemporaryFolder folder;
    ASSERT_TRUE(TinyCheckpoint::generate(shape).write(folder.path()));
    auto c = Checkpoint::open(folder.path());
    ASSERT_TRUE(c) << c.error().what;
    EXPECT_EQ((*c)->has_mtp(), shape.mtp);
    EXPECT_EQ((*c)->ignored().size(), shape.f32_scales ? 2u : 0u);
    EXPECT_EQ((*c)->draft().size(), shape.dspark ? 7u : 0u);
    EXPECT_EQ((*c)->chat_generation(), shape.dspark ? ChatGeneration::k0731 : ChatGeneration::kPreview);
    EXPECT_EQ((*c)->shards().size(), static_cast<std::size_t>(shape.shards));
    for (const TensorSpec& spec : (*c)->table().tensors()) {
      if ((*c)->find(spec.name)) {
        EXPECT_TRUE((*c)->verify(spec)) << spec.name;
      }
    }
  }
}

TEST(Checkpoint, GoldenBaseIgnoresCopies) {
  auto c = Checkpoint::open(test::golden_path("model/tiny-base"));
  ASSERT_TRUE(c) << c.error().what;
  EXPECT_THAT((*c)->ignored(), testing::ElementsAre("mtp.0.head.weight", "mtp.0.emb.tok_emb.weight"));
  EXPECT_TRUE((*c)->has_mtp());
}

// Weight times scale, by hand, for one FP8 and one FP4 tensor.
TEST(Checkpoint, DequantisesByHand) {
  TinyCheckpoint tiny = TinyCheckpoint::generate(test::tiny_flash());
  auto& w8 = tiny.find("layers.0.attn.wq_a.weight")->bytes;         // [64, 128]
  auto& s8 = tiny.find("layers.0.attn.wq_a.scale")->bytes;          // [1, 1]
  w8[0] = 0x38, w8[1] = 0x81, w8[128] = 0x7E, s8[0] = 130;          // 1, -2^-9, 448, times 2^3
  auto& w4 = tiny.find("layers.1.ffn.experts.2.w1.weight")->bytes;  // [64, 128/2]
  auto& s4 = tiny.find("layers.1.ffn.experts.2.w1.scale")->bytes;   // [64, 4]
  w4[0] = 0xF2, w4[64 + 16] = 0x0C, s4[0] = 126,
  s4[4 + 1] = 129;  // row 0: 1, -6 times 1/2; row 1, column 32: -2 times 4
  test::TemporaryFolder folder;
  ASSERT_TRUE(tiny.write(folder.path()));
  auto c = Checkpoint::open(folder.path());
  ASSERT_TRUE(c) << c.error().what;
  const auto a = (*c)->dequantise("layers.0.attn.wq_a.weight").value();
  EXPECT_EQ(a[0], 8);
  EXPECT_EQ(a[1], -0x1p-6);
  EXPECT_EQ(a[128], 3584);
  const auto b = (*c)->dequantise("layers.1.ffn.experts.2.w1.weight").value();
  EXPECT_EQ(b[0], 0.5);
  EXPECT_EQ(b[1], -3);
  EXPECT_EQ(b[128 + 32], -8);
  EXPECT_FALSE((*c)->values("layers.0.attn.wq_a.weight")) << "it has a scale";
  EXPECT_EQ((*c)->values("layers.0.attn.attn_sink").value().size(), 4u);
  EXPECT_EQ((*c)->dequantise("layers.9.attn.wq_a.weight").error().code, ErrorCode::kNotFound);
}

TEST(Checkpoint, OlderNamesAreTheSameCheckpoint) {
  TinyCheckpoint tiny = TinyCheckpoint::generate(test::tiny_flash());
  test::TemporaryFolder a, b;
  ASSERT_TRUE(tiny.write(a.path()));
  for (auto& t : tiny.tensors) {
    const auto put = [&](const std::string& release, const std::string& older) {
      if (const auto at = t.name.find(release); at != std::string::npos) t.name.replace(at, release.size(), older);
    };
    put(".attn.", ".self_attn.");
    put(".ffn.", ".mlp.");
    if (t.name.ends_with(".scale")) put(".scale", ".weight_scale_inv");
    put("embed.weight", "embed_tokens.weight");
    t.name = "model." + t.name;
  }
  ASSERT_TRUE(tiny.write(b.path()));
  auto first = Checkpoint::open(a.path()), second = Checkpoint::open(b.path());
  ASSERT_TRUE(first && second) << second.error().what;
  EXPECT_EQ((*first)->fingerprint(), (*second)->fingerprint());
}

TEST(Checkpoint, FingerprintFollowsContentNotSharding) {
  TinyCheckpoint tiny = TinyCheckpoint::generate(test::tiny_flash());
  auto print = [](const TinyCheckpoint& t) {
    test::TemporaryFolder folder;
    EXPECT_TRUE(t.write(folder.path()));
    return Checkpoint::open(folder.path()).value()->fingerprint();
  };
  const std::uint64_t original = print(tiny);
  tiny.shards = 4;
  EXPECT_EQ(print(tiny), original);
  tiny.encoding_py = "x";
  EXPECT_EQ(print(tiny), original);
  tiny.find("layers.2.attn.wkv.weight")->bytes[0] ^= 1;
  EXPECT_NE(print(tiny), original);
  tiny.find("layers.2.attn.wkv.weight")->bytes[0] ^= 1;
  tiny.set_config("swiglu_limit", "1.5");
  EXPECT_NE(print(tiny), original);
  EXPECT_NE(print(TinyCheckpoint::generate(test::tiny_flash(), 2)), original);
}

TEST(Checkpoint, ChatGenerationByText) {
  std::string reason;
  EXPECT_EQ(detect_chat_generation("REASONING_EFFORT_PROMPTS = {}\nDEFAULT_REASONING_EFFORT = \"low\"\n", &reason),
            ChatGeneration::k0731);
  EXPECT_EQ(detect_chat_generation("REASONING_EFFORT_PROMPTS: dict = {}\r\nDEFAULT_REASONING_EFFORT='low'", nullptr),
            ChatGeneration::k0731);
  EXPECT_EQ(detect_chat_generation("REASONING_EFFORT_MAX = \"x\"\n", &reason), ChatGeneration::kPreview);
  EXPECT_THAT(reason, HasSubstr("REASONING_EFFORT_MAX"));
  EXPECT_EQ(detect_chat_generation("def f():\n  REASONING_EFFORT_PROMPTS = {}\n  DEFAULT_REASONING_EFFORT = \"low\"\n",
                                   nullptr),
            ChatGeneration::kPreview)
      << "not at top level";
  EXPECT_EQ(detect_chat_generation("REASONING_EFFORT_PROMPTS = {}\nDEFAULT_REASONING_EFFORT = \"high\"\n", nullptr),
            ChatGeneration::kPreview);
  EXPECT_EQ(detect_chat_generation("", nullptr), ChatGeneration::kPreview);
}

TEST(Checkpoint, MtpMayBeAbsentButNotInPart) {
  TinyCheckpoint tiny = TinyCheckpoint::generate(test::tiny_flash());
  TinyCheckpoint without = tiny;
  std::erase_if(without.tensors, [](const auto& t) { return t.name.starts_with("mtp."); });
  test::TemporaryFolder a, b;
  ASSERT_TRUE(without.write(a.path()));
  auto c = Checkpoint::open(a.path());
  ASSERT_TRUE(c) << c.error().what;
  EXPECT_FALSE((*c)->has_mtp());
  auto w = load_weights(*c);
  ASSERT_TRUE(w) << w.error().what;
  EXPECT_EQ(w->mtp, nullptr);
  tiny.remove("mtp.0.hnorm.weight");
  ASSERT_TRUE(tiny.write(b.path()));
  c = Checkpoint::open(b.path());
  ASSERT_FALSE(c);
  EXPECT_THAT(c.error().what, HasSubstr("'mtp.0.hnorm.weight' is missing although"));
}

// Bad input. `harm` works on the tensors before writing, `wreck` on the files afterwards; each ends in one sentence at
// exit 2, on opening or on loading.
struct BadCase {
  const char* name;
  std::function<void(TinyCheckpoint&)> harm;
  std::function<void(const std::string& directory)> wreck;
  const char* says;
  bool sharded = false;
};

class CheckpointRefuses : public testing::TestWithParam<BadCase> {};

TEST_P(CheckpointRefuses, InOneSentence) {
  const BadCase& p = GetParam();
  static const TinyCheckpoint single = TinyCheckpoint::generate(test::tiny_flash());
  static const TinyCheckpoint base = TinyCheckpoint::generate(test::tiny_base());
  TinyCheckpoint tiny = std::string_view(p.name).starts_with("base_") ? base : single;
  if (p.sharded) tiny.shards = 3;
  if (p.harm) p.harm(tiny);
  test::TemporaryFolder folder;
  ASSERT_TRUE(tiny.write(folder.path()));
  if (p.wreck) p.wreck(folder.path());

  std::optional<Error> error;
  auto c = Checkpoint::open(folder.path());
  if (!c) {
    error = c.error();
  } else if (auto w = load_weights(*c); !w) {
    error = w.error();
  }
  ASSERT_TRUE(error) << "it loaded";
  EXPECT_EQ(exit_status(error->code), 2) << error->what;
  EXPECT_THAT(error->what, HasSubstr(p.says));
  EXPECT_THAT(error->what, HasSubstr(folder.path())) << "names the place";
  EXPECT_EQ(error->what.find('\n'), std::string::npos);
  EXPECT_LT(error->what.size(), 600u);

  // Inspection must survive whatever opening refuses.
  auto listed = Checkpoint::open_for_inspection(folder.path());
  if (listed && c.has_value() == false) {
    EXPECT_FALSE((*listed)->problems().empty());
  }
}

void resize(TinyCheckpoint& t, const std::string& name, std::vector<std::int64_t> shape) {
  std::int64_t bytes = dtype_bytes(t.find(name)->dtype);
  for (std::int64_t n : shape) bytes *= n;
  t.find(name)->shape = std::move(shape);
  t.find(name)->bytes.resize(static_cast<std::size_t>(bytes));
}
void retype(TinyCheckpoint& t, const std::string& name, DType dtype) {
  auto* x = t.find(name);
  x->bytes.resize(x->bytes.size() / static_cast<std::size_t>(dtype_bytes(x->dtype)) *
                  static_cast<std::size_t>(dtype_bytes(dtype)));
  x->dtype = dtype;
}
void cut(const std::string& file, std::int64_t bytes) {
  std::filesystem::resize_file(
      file, static_cast<std::uintmax_t>(static_cast<std::int64_t>(std::filesystem::file_size(file)) + bytes));
}
void write(const std::string& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

const std::string kFile = "/model.safetensors";
const std::string kIndex = "/model.safetensors.index.json";

INSTANTIATE_TEST_SUITE_P(
    Cases, CheckpointRefuses,
    testing::Values(
        BadCase{"truncated", {}, [](const std::string& dir) { cut(dir + kFile, -1); }, "truncated"},
        BadCase{"half_header",
                {},
                [](const std::string& dir) { std::filesystem::resize_file(dir + kFile, 500); },
                "does not fit in a file"},
        BadCase{
            "empty_file", {}, [](const std::string& dir) { std::filesystem::resize_file(dir + kFile, 0); }, "too few"},
        BadCase{"header_bomb",
                {},
                [](const std::string& dir) { write(dir + kFile, std::string(8, '\x7f') + "{}"); },
                "above the limit"},
        BadCase{"git_lfs_pointer",
                {},
                [](const std::string& dir) {
                  write(dir + kFile, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
                },
                "limit"},
        BadCase{"deep_json",
                {},
                [](const std::string& dir) {
                  write(dir + kFile, std::string("\x40\x0d\x03\0\0\0\0\0", 8) + std::string(200000, '['));
                },
                "JSON"},
        BadCase{"no_weights",
                {},
                [](const std::string& dir) { std::filesystem::remove(dir + kFile); },
                "fetch the weights"},
        BadCase{"no_config",
                {},
                [](const std::string& dir) { std::filesystem::remove(dir + "/config.json"); },
                "no config.json"},
        BadCase{"weights_are_a_directory",
                {},
                [](const std::string& dir) {
                  std::filesystem::remove(dir + kFile);
                  std::filesystem::create_directory(dir + kFile);
                },
                "fetch the weights"},
        BadCase{"config_not_json",
                {},
                [](const std::string& dir) { write(dir + "/config.json", "hello"); },
                "not a JSON object"},
        BadCase{"missing_tensor",
                [](TinyCheckpoint& tiny) { tiny.remove("layers.1.attn.indexer.wq_b.weight"); },
                {},
                "indexer.wq_b"},
        BadCase{
            "missing_norm", [](TinyCheckpoint& tiny) { tiny.remove("norm.weight"); }, {}, "'norm.weight' is missing"},
        BadCase{"missing_scale",
                [](TinyCheckpoint& tiny) { tiny.remove("layers.0.attn.wkv.scale"); },
                {},
                "scale 'layers.0.attn.wkv.scale' is missing"},
        BadCase{"missing_expert_scale",
                [](TinyCheckpoint& tiny) { tiny.remove("layers.0.ffn.experts.1.w3.scale"); },
                {},
                "experts.1.w3.scale"},
        BadCase{"unknown_tensor",
                [](TinyCheckpoint& tiny) {
                  tiny.tensors.push_back({"layers.0.attn.wq_a.bias", DType::kF32, {1}, {0, 0, 0, 0}});
                },
                {},
                "'layers.0.attn.wq_a.bias' is not one of DeepSeek-V4"},
        BadCase{"layer_too_many",
                [](TinyCheckpoint& tiny) {
                  tiny.tensors.push_back({"layers.4.attn_norm.weight", DType::kBF16, {1}, {0, 0}});
                },
                {},
                "layers.4.attn_norm"},
        BadCase{
            "draft_without_dspark",
            [](TinyCheckpoint& tiny) { tiny.tensors.push_back({"mtp.1.attn_norm.weight", DType::kBF16, {1}, {0, 0}}); },
            {},
            "mtp.1.attn_norm"},
        BadCase{"two_names_for_one",
                [](TinyCheckpoint& tiny) {
                  auto x = *tiny.find("norm.weight");
                  x.name = "model.norm.weight";
                  tiny.tensors.push_back(x);
                },
                {},
                "are both 'norm.weight'"},
        BadCase{"wrong_shape",
                [](TinyCheckpoint& tiny) { resize(tiny, "layers.0.attn.wq_b.weight", {512, 65}); },
                {},
                "has shape [512, 65], config.json asks for [512, 64]"},
        BadCase{"transposed",
                [](TinyCheckpoint& tiny) { resize(tiny, "layers.0.attn.wq_a.weight", {128, 64}); },
                {},
                "has shape [128, 64]"},
        BadCase{"vector_as_matrix",
                [](TinyCheckpoint& tiny) { resize(tiny, "norm.weight", {128, 1}); },
                {},
                "has shape [128, 1]"},
        BadCase{"scale_shape",
                [](TinyCheckpoint& tiny) { resize(tiny, "layers.0.attn.wq_b.scale", {4, 2}); },
                {},
                "has a scale of shape [4, 2], expected [4, 1]"},
        BadCase{"wrong_type",
                [](TinyCheckpoint& tiny) { retype(tiny, "norm.weight", DType::kF16); },
                {},
                "is F16, expected BF16 or F32"},
        BadCase{"expert_type",
                [](TinyCheckpoint& tiny) { retype(tiny, "layers.0.ffn.experts.0.w1.weight", DType::kU8); },
                {},
                "is U8"},
        BadCase{"fp4_scale_type",
                [](TinyCheckpoint& tiny) { retype(tiny, "layers.0.ffn.experts.0.w1.scale", DType::kF32); },
                {},
                "scale of F32, expected F8_E8M0"},
        BadCase{"scale_type",
                [](TinyCheckpoint& tiny) { retype(tiny, "layers.0.attn.wq_b.scale", DType::kBF16); },
                {},
                "scale of BF16"},
        BadCase{"ids_type",
                [](TinyCheckpoint& tiny) { retype(tiny, "layers.0.ffn.gate.tid2eid", DType::kI32); },
                {},
                "is I32, expected I64"},
        BadCase{"e8m0_nan",
                [](TinyCheckpoint& tiny) { tiny.find("layers.2.attn.wo_b.scale")->bytes[0] = 255; },
                {},
                "scale of tensor 'layers.2.attn.wo_b.weight' is not a finite number"},
        BadCase{"fp4_scale_nan",
                [](TinyCheckpoint& tiny) { tiny.find("layers.3.ffn.experts.3.w2.scale")->bytes[5] = 255; },
                {},
                "scale of tensor 'layers.3.ffn.experts.3.w2.weight'"},
        BadCase{"e4m3_nan",
                [](TinyCheckpoint& tiny) { tiny.find("layers.2.attn.wo_b.weight")->bytes[129] = 0xFF; },
                {},
                "'layers.2.attn.wo_b.weight' is not a finite number at row 2, column 1"},
        BadCase{"bf16_nan",
                [](TinyCheckpoint& tiny) {
                  tiny.find("head.weight")->bytes[7] = 0x7F;
                  tiny.find("head.weight")->bytes[6] = 0xC0;
                },
                {},
                "'head.weight' is not a finite number at row 0, column 3"},
        BadCase{"embed_infinity",
                [](TinyCheckpoint& tiny) {
                  tiny.find("embed.weight")->bytes[1] = 0x7F;
                  tiny.find("embed.weight")->bytes[0] = 0x80;
                },
                {},
                "'embed.weight' is not a finite number"},
        BadCase{"f32_nan",
                [](TinyCheckpoint& tiny) {
                  auto& b = tiny.find("layers.0.attn.attn_sink")->bytes;
                  b[2] = 0xC0, b[3] = 0x7F;
                },
                {},
                "attn_sink"},
        BadCase{"base_f32_scale_nan",
                [](TinyCheckpoint& tiny) {
                  auto& b = tiny.find("layers.0.attn.wq_b.scale")->bytes;
                  b[2] = 0xC0, b[3] = 0x7F;
                },
                {},
                "scale of tensor 'layers.0.attn.wq_b.weight'"},
        BadCase{"expert_id",
                [](TinyCheckpoint& tiny) { tiny.find("layers.0.ffn.gate.tid2eid")->bytes[16 * 8] = 4; },
                {},
                "names expert 4 of 4 at row 8, column 0"},
        BadCase{"expert_id_negative",
                [](TinyCheckpoint& tiny) { tiny.find("layers.0.ffn.gate.tid2eid")->bytes[7] = 0x80; },
                {},
                "tid2eid"},
        BadCase{"ratios",
                [](TinyCheckpoint& tiny) { tiny.set_config("compress_ratios", "[0,4,128]"); },
                {},
                "compress_ratios has 3 entries"},
        BadCase{"other_ratios",
                [](TinyCheckpoint& tiny) { tiny.set_config("compress_ratios", "[4,4,128,4,0]"); },
                {},
                "compressor"},
        BadCase{"model_type", [](TinyCheckpoint& tiny) { tiny.set_config("model_type", "\"llama\""); }, {}, "'llama'"},
        BadCase{"v41", [](TinyCheckpoint& tiny) { tiny.set_config("model_type", "\"deepseek_v41\""); }, {}, "V4.1"},
        BadCase{
            "vision", [](TinyCheckpoint& tiny) { tiny.set_config("vision_min_pixels", "147456"); }, {}, "vision model"},
        BadCase{"other_width",
                [](TinyCheckpoint& tiny) { tiny.set_config("hidden_size", "256"); },
                {},
                "config.json asks for"},
        BadCase{"missing_shard",
                {},
                [](const std::string& dir) { std::filesystem::remove(dir + "/model-00002-of-00003.safetensors"); },
                "the shard is missing",
                true},
        BadCase{"shard_is_a_directory",
                {},
                [](const std::string& dir) {
                  const auto f = dir + "/model-00002-of-00003.safetensors";
                  std::filesystem::remove(f);
                  std::filesystem::create_directory(f);
                },
                "directory",
                true},
        BadCase{"index_ghost",
                {},
                [](const std::string& dir) {
                  std::string s = read_file(dir + kIndex);
                  s.insert(s.find("\"weight_map\": {") + 15, "\"ghost.weight\": \"model-00001-of-00003.safetensors\",");
                  write(dir + kIndex, s);
                },
                "'ghost.weight' is not in the file although",
                true},
        BadCase{"index_escapes",
                {},
                [](const std::string& dir) { write(dir + kIndex, R"({"weight_map":{"a":"../../etc/passwd"}})"); },
                "plain file name",
                true},
        BadCase{"index_empty",
                {},
                [](const std::string& dir) { write(dir + kIndex, R"({"weight_map":{}})"); },
                "weight_map is empty",
                true},
        BadCase{"index_no_map",
                {},
                [](const std::string& dir) { write(dir + kIndex, R"({"metadata":{}})"); },
                "no readable weight_map",
                true},
        BadCase{"index_not_json",
                {},
                [](const std::string& dir) { write(dir + kIndex, "\xff\xfe"); },
                "no readable weight_map",
                true},
        BadCase{"index_number",
                {},
                [](const std::string& dir) { write(dir + kIndex, R"({"weight_map":{"a":1}})"); },
                "no readable weight_map",
                true}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Checkpoint, NotACheckpointDirectory) {
  test::TemporaryFolder folder;
  auto empty = Checkpoint::open(folder.path());
  ASSERT_FALSE(empty);
  EXPECT_THAT(empty.error().what, HasSubstr("no config.json"));
  auto missing = Checkpoint::open(folder.file("none"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  const std::string file = folder.write("file", "x");
  auto a_file = Checkpoint::open(file);
  ASSERT_FALSE(a_file);
  EXPECT_THAT(a_file.error().what, HasSubstr("is not a directory"));
}

// Only headers on disk: sizes and the table check work, loading does not.
TEST(Checkpoint, HeadersOnly) {
  test::TemporaryFolder folder;
  ASSERT_TRUE(TinyCheckpoint::generate(test::tiny_flash()).write(folder.path()));
  const std::string path = folder.file("model.safetensors");
  std::uint64_t length = 0;
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(&length), 8);
  std::filesystem::resize_file(path, 8 + length);
  auto c = Checkpoint::open_for_inspection(folder.path());
  ASSERT_TRUE(c) << c.error().what;
  EXPECT_TRUE((*c)->headers_only());
  ASSERT_EQ((*c)->problems().size(), 1u) << "the table itself is complete";
  EXPECT_THAT((*c)->problems()[0].what, HasSubstr("truncated"));
  EXPECT_GT((*c)->find("head.weight").value()->bytes, 0u);
  EXPECT_FALSE((*c)->dequantise("head.weight"));
  EXPECT_FALSE(load_weights(*c));
  EXPECT_FALSE(Checkpoint::open(folder.path()));
}

}  // namespace
}  // namespace hadal
