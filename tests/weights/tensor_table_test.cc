#include "weights/tensor_table.h"

#include <gtest/gtest.h>

#include <set>

#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

// Release shapes (architecture: configuration), for counts and sizes that are published.
ModelConfig flash() {
  ModelConfig c;
  c.vocab_size = 129280;
  c.hidden_size = 4096;
  c.num_hidden_layers = 43;
  c.num_hash_layers = 3;
  c.num_nextn_predict_layers = 1;
  c.num_attention_heads = 64;
  c.head_dim = 512;
  c.qk_rope_head_dim = 64;
  c.q_lora_rank = 1024;
  c.o_groups = 8;
  c.o_lora_rank = 1024;
  c.index_n_heads = 64;
  c.index_head_dim = 128;
  c.n_routed_experts = 256;
  c.num_experts_per_tok = 6;
  c.moe_intermediate_size = 2048;
  c.hc_mult = 4;
  c.compress_ratios = {0, 0};
  while (c.compress_ratios.size() < 43) c.compress_ratios.push_back(c.compress_ratios.size() % 2 == 0 ? 4 : 128);
  c.compress_ratios.push_back(0);
  return c;
}

ModelConfig pro() {
  ModelConfig c = flash();
  c.hidden_size = 7168;
  c.num_hidden_layers = 61;
  c.num_attention_heads = 128;
  c.q_lora_rank = 1536;
  c.o_groups = 16;
  c.n_routed_experts = 384;
  c.moe_intermediate_size = 3072;
  c.compress_ratios = {128, 128};
  while (c.compress_ratios.size() < 61) c.compress_ratios.push_back(c.compress_ratios.size() % 2 == 0 ? 4 : 128);
  c.compress_ratios.push_back(0);
  return c;
}

struct Count {
  std::int64_t main_tensors = 0, mtp_tensors = 0, bytes = 0, parameters = 0;
};

// As a release stores it: FP8 with byte scales, experts FP4, or for Base FP8 with F32 scales.
Count count(const ModelConfig& c, bool base) {
  Count total;
  const TensorTable table(c);
  for (const TensorSpec& t : table.tensors()) {
    if (t.presence == Presence::kIgnored && !base) continue;
    DType dtype = DType::kBF16;
    if (t.storage == Storage::kFp8 || (t.storage == Storage::kExpert && base))
      dtype = DType::kE4M3;
    else if (t.storage == Storage::kExpert)
      dtype = DType::kI8;
    else if (t.storage == Storage::kF32)
      dtype = DType::kF32;
    else if (t.storage == Storage::kI64)
      dtype = DType::kI64;
    const StoredForm form = stored_form(t, dtype, 128).value();
    auto bytes = [](const std::vector<std::int64_t>& shape, std::int64_t each) {
      for (std::int64_t n : shape) each *= n;
      return each;
    };
    total.bytes += bytes(form.shape, dtype_bytes(dtype));
    if (form.has_scale) total.bytes += bytes(form.scale_shape, base ? 4 : 1);
    (t.group == TensorClass::kMtp ? total.mtp_tensors : total.main_tensors) += form.has_scale ? 2 : 1;
    if (t.group != TensorClass::kMtp && t.storage != Storage::kI64) total.parameters += t.elements();
  }
  return total;
}

TEST(TensorTable, FlashAsPublished) {
  const Count n = count(flash(), false);
  EXPECT_EQ(n.main_tensors, 67612);
  EXPECT_EQ(n.mtp_tensors, 1575);
  EXPECT_EQ(n.parameters, 284332230231 + 10240);  // VeOmni's count leaves out the gate biases
  EXPECT_NEAR(static_cast<double>(n.bytes) * 1e-9, 159.609, 0.0005);
}

TEST(TensorTable, ProAsComputed) {
  const Count n = count(pro(), false);
  EXPECT_EQ(n.main_tensors, 142773);
  EXPECT_EQ(n.mtp_tensors, 2343);
  EXPECT_NEAR(static_cast<double>(n.bytes) * 1e-9, 864.705, 0.0005);
  EXPECT_NEAR(static_cast<double>(n.parameters) * 1e-9, 1572.997, 0.0005);
}

TEST(TensorTable, FlashBaseHasTheSameMainStack) {
  const Count n = count(flash(), true);
  EXPECT_EQ(n.main_tensors, 67612);
  EXPECT_EQ(n.mtp_tensors, 1575 + 2) << "copies of head and embedding";
  EXPECT_NEAR(static_cast<double>(n.bytes) * 1e-9, 294.7, 0.05);
}

// Rows of the published tensor listing, as stored.
TEST(TensorTable, FlashShapes) {
  const TensorTable table(flash());
  auto stored = [&](const char* name, DType dtype) {
    const TensorSpec* t = table.find(name);
    if (!t) return std::string("absent");
    const auto form = stored_form(*t, dtype, 128);
    if (!form) return std::string("refused");
    return shape_text(form->shape) + (form->has_scale ? " " + shape_text(form->scale_shape) : "");
  };
  EXPECT_EQ(stored("embed.weight", DType::kBF16), "[129280, 4096]");
  EXPECT_EQ(stored("hc_head_fn", DType::kF32), "[4, 16384]");
  EXPECT_EQ(stored("layers.0.hc_attn_fn", DType::kF32), "[24, 16384]");
  EXPECT_EQ(stored("layers.7.attn.wq_a.weight", DType::kE4M3), "[1024, 4096] [8, 32]");
  EXPECT_EQ(stored("layers.7.attn.wq_b.weight", DType::kE4M3), "[32768, 1024] [256, 8]");
  EXPECT_EQ(stored("layers.7.attn.wo_a.weight", DType::kE4M3), "[8192, 4096] [64, 32]");
  EXPECT_EQ(stored("layers.7.attn.wo_b.weight", DType::kE4M3), "[4096, 8192] [32, 64]");
  EXPECT_EQ(stored("layers.2.attn.compressor.ape", DType::kF32), "[4, 1024]");
  EXPECT_EQ(stored("layers.3.attn.compressor.ape", DType::kF32), "[128, 512]");
  EXPECT_EQ(stored("layers.2.attn.indexer.wq_b.weight", DType::kE4M3), "[8192, 1024] [64, 8]");
  EXPECT_EQ(stored("layers.2.attn.indexer.compressor.wkv.weight", DType::kBF16), "[256, 4096]");
  EXPECT_EQ(stored("layers.2.ffn.gate.tid2eid", DType::kI64), "[129280, 6]");
  EXPECT_EQ(stored("layers.42.ffn.experts.255.w1.weight", DType::kI8), "[2048, 2048] [2048, 128]");
  EXPECT_EQ(stored("layers.42.ffn.experts.255.w1.weight", DType::kE4M3), "[2048, 4096] [16, 32]");
  EXPECT_EQ(stored("layers.42.ffn.experts.0.w2.weight", DType::kI8), "[4096, 1024] [4096, 64]");
  EXPECT_EQ(stored("mtp.0.e_proj.weight", DType::kE4M3), "[4096, 4096] [32, 32]");
  EXPECT_EQ(stored("layers.3.attn.indexer.wq_b.weight", DType::kE4M3), "absent") << "HCA layers have no indexer";
  EXPECT_EQ(stored("layers.0.attn.compressor.ape", DType::kF32), "absent");
  EXPECT_EQ(stored("layers.3.ffn.gate.tid2eid", DType::kI64), "absent");
  EXPECT_EQ(stored("layers.2.ffn.gate.bias", DType::kF32), "absent");
  EXPECT_EQ(stored("mtp.0.ffn.gate.bias", DType::kF32), "[256]");
  EXPECT_EQ(stored("layers.7.attn.wq_a.weight", DType::kI8), "refused");
  EXPECT_EQ(stored("layers.7.attn_norm.weight", DType::kE4M3), "refused");
  EXPECT_EQ(stored("hc_head_fn", DType::kBF16), "refused");
}

TEST(TensorTable, FindsByMeaning) {
  const TensorTable table(flash());
  ASSERT_NE(table.find(Role::kExpertW2, 5, 17), nullptr);
  EXPECT_EQ(table.find(Role::kExpertW2, 5, 17)->name, "layers.5.ffn.experts.17.w2.weight");
  EXPECT_EQ(table.find(Role::kExpertW2, 5, 17)->scale_name(), "layers.5.ffn.experts.17.w2.scale");
  EXPECT_EQ(table.find(Role::kNorm)->name, "norm.weight");
  EXPECT_EQ(table.find(Role::kNorm, 43)->name, "mtp.0.norm.weight");
  EXPECT_EQ(table.find(Role::kIndexerWqB, 3), nullptr);
  std::set<std::string> names;
  for (const TensorSpec& t : table.tensors()) {
    EXPECT_TRUE(names.insert(t.name).second) << t.name << " twice";
    EXPECT_EQ(table.find(t.role, t.layer, t.expert), &t);
    EXPECT_EQ(table.find(t.name), &t);
  }
}

TEST(TensorTable, OlderNames) {
  EXPECT_EQ(release_name("model.embed_tokens.weight"), "embed.weight");
  EXPECT_EQ(release_name("lm_head.weight"), "head.weight");
  EXPECT_EQ(release_name("model.layers.3.self_attn.wq_a.weight_scale_inv"), "layers.3.attn.wq_a.scale");
  EXPECT_EQ(release_name("model.layers.3.mlp.gate.e_score_correction_bias"), "layers.3.ffn.gate.bias");
  EXPECT_EQ(release_name("layers.3.mlp.experts.9.gate_proj.weight"), "layers.3.ffn.experts.9.w1.weight");
  EXPECT_EQ(release_name("layers.3.mlp.experts.9.down_proj.weight"), "layers.3.ffn.experts.9.w2.weight");
  EXPECT_EQ(release_name("layers.3.mlp.experts.9.up_proj.weight"), "layers.3.ffn.experts.9.w3.weight");
  EXPECT_EQ(release_name("layers.3.input_layernorm.weight"), "layers.3.attn_norm.weight");
  EXPECT_EQ(release_name("layers.3.post_attention_layernorm.weight"), "layers.3.ffn_norm.weight");
  EXPECT_EQ(release_name("layers.3.attn.wq_a.weight"), "layers.3.attn.wq_a.weight");
  EXPECT_EQ(release_name(""), "");
  EXPECT_EQ(release_name("..x."), "..x.");
}

}  // namespace
}  // namespace hadal
