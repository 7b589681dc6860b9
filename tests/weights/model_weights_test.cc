#include "weights/model_weights.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>

#include "numbers/bf16.h"
#include "support/golden.h"
#include "support/tiny_checkpoint.h"
#include "weights/checkpoint.h"
#include "weights/pack.h"

namespace hadal {
namespace {

// Compares everything loaded with the exact values of the checkpoint, and counts the tensors it looked at.
class Comparison {
 public:
  explicit Comparison(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  int tensors() const { return tensors_; }

  void matrix(const PackedMatrix& m, Role role, std::int64_t layer = kNoLayer, std::int64_t expert = kNoExpert) {
    const auto want = exact(role, layer, expert);
    ASSERT_EQ(m.rows * m.cols, static_cast<std::int64_t>(want.size()));
    equal(unpack(m), want, m.encoding);
  }
  void groups(const std::vector<PackedMatrix>& parts, Role role, std::int64_t layer) {
    const auto want = exact(role, layer, kNoExpert);
    std::vector<double> got;
    for (const PackedMatrix& part : parts) {
      const auto values = unpack(part);
      got.insert(got.end(), values.begin(), values.end());
    }
    equal(got, want, parts[0].encoding);
  }
  template <class T>
  void plain(const T* values, Role role, std::int64_t layer = kNoLayer) {
    const auto want = exact(role, layer, kNoExpert);
    ASSERT_NE(values, nullptr);
    for (std::size_t i = 0; i < want.size(); ++i)
      ASSERT_EQ(static_cast<double>(values[i]), want[i]) << last_ << " at " << i;
  }

 private:
  std::vector<double> exact(Role role, std::int64_t layer, std::int64_t expert) {
    const TensorSpec* spec = checkpoint_.table().find(role, layer, expert);
    if (!spec) {
      ADD_FAILURE() << "no tensor of role " << static_cast<int>(role) << " in layer " << layer;
      return {};
    }
    ++tensors_;
    last_ = spec->name;
    auto values = checkpoint_.dequantise(*spec);
    EXPECT_TRUE(values) << values.error().what;
    from_fp8_ = checkpoint_.find(spec->name).value()->dtype == DType::kE4M3;
    return values.value_or(std::vector<double>());
  }
  void equal(const std::vector<double>& got, const std::vector<double>& want, Encoding encoding) {
    ASSERT_EQ(got.size(), want.size()) << last_;
    // The one rounding there is: FP8 codes times F32 scales, kept as float when scale blocks cross tiles.
    const bool rounded = encoding == Encoding::kF32 && from_fp8_;
    for (std::size_t i = 0; i < want.size(); ++i)
      ASSERT_EQ(got[i], rounded ? static_cast<double>(static_cast<float>(want[i])) : want[i]) << last_ << " at " << i;
  }

  const Checkpoint& checkpoint_;
  int tensors_ = 0;
  bool from_fp8_ = false;
  std::string last_;
};

void compare_compressor(Comparison& compare, const CompressorWeights& w, std::int64_t l, bool indexer) {
  compare.matrix(w.wkv, indexer ? Role::kIndexerCompressorWkv : Role::kCompressorWkv, l);
  compare.matrix(w.wgate, indexer ? Role::kIndexerCompressorWgate : Role::kCompressorWgate, l);
  compare.plain(w.ape, indexer ? Role::kIndexerCompressorApe : Role::kCompressorApe, l);
  compare.plain(w.norm, indexer ? Role::kIndexerCompressorNorm : Role::kCompressorNorm, l);
}

void compare_block(Comparison& compare, const ModelConfig& c, const BlockWeights& w, std::int64_t l) {
  compare.matrix(w.hc_attn.fn, Role::kHcAttnFn, l);
  compare.plain(w.hc_attn.base, Role::kHcAttnBase, l);
  compare.plain(w.hc_attn.scale, Role::kHcAttnScale, l);
  compare.matrix(w.hc_ffn.fn, Role::kHcFfnFn, l);
  compare.plain(w.hc_ffn.base, Role::kHcFfnBase, l);
  compare.plain(w.hc_ffn.scale, Role::kHcFfnScale, l);
  compare.plain(w.attn_norm, Role::kAttnNorm, l);
  compare.plain(w.ffn_norm, Role::kFfnNorm, l);
  compare.matrix(w.attn.wq_a, Role::kWqA, l);
  compare.plain(w.attn.q_norm, Role::kQNorm, l);
  compare.matrix(w.attn.wq_b, Role::kWqB, l);
  compare.matrix(w.attn.wkv, Role::kWkv, l);
  compare.plain(w.attn.kv_norm, Role::kKvNorm, l);
  compare.plain(w.attn.attn_sink, Role::kAttnSink, l);
  ASSERT_EQ(static_cast<std::int64_t>(w.attn.wo_a.size()), c.o_groups);
  compare.groups(w.attn.wo_a, Role::kWoA, l);
  compare.matrix(w.attn.wo_b, Role::kWoB, l);
  if (c.kind(l) != AttentionKind::kSwa) compare_compressor(compare, w.attn.compressor, l, false);
  if (c.kind(l) == AttentionKind::kCsa) {
    compare.matrix(w.attn.indexer.wq_b, Role::kIndexerWqB, l);
    compare.matrix(w.attn.indexer.weights_proj, Role::kIndexerWeightsProj, l);
    compare_compressor(compare, w.attn.indexer.compressor, l, true);
  }
  compare.matrix(w.ffn.gate, Role::kGate, l);
  if (l < c.num_hash_layers) {
    compare.plain(w.ffn.tid2eid, Role::kGateTid2eid, l);
    EXPECT_EQ(w.ffn.bias, nullptr);
  } else {
    compare.plain(w.ffn.bias, Role::kGateBias, l);
    EXPECT_EQ(w.ffn.tid2eid, nullptr);
  }
  for (std::int64_t e = 0; e < c.n_routed_experts; ++e) {
    compare.matrix(w.ffn.experts[static_cast<std::size_t>(e)].w1, Role::kExpertW1, l, e);
    compare.matrix(w.ffn.experts[static_cast<std::size_t>(e)].w2, Role::kExpertW2, l, e);
    compare.matrix(w.ffn.experts[static_cast<std::size_t>(e)].w3, Role::kExpertW3, l, e);
  }
  compare.matrix(w.ffn.shared.w1, Role::kSharedW1, l);
  compare.matrix(w.ffn.shared.w2, Role::kSharedW2, l);
  compare.matrix(w.ffn.shared.w3, Role::kSharedW3, l);
}

void expect_exact(const std::string& directory) {
  auto checkpoint = Checkpoint::open(directory);
  ASSERT_TRUE(checkpoint) << checkpoint.error().what;
  auto w = load_weights(*checkpoint);
  ASSERT_TRUE(w) << w.error().what;
  const ModelConfig& c = (*checkpoint)->config();
  Comparison compare(**checkpoint);

  const auto embed = (*checkpoint)->dequantise(*(*checkpoint)->table().find(Role::kEmbed)).value();
  std::vector<TokenId> all_ids;
  for (std::int32_t id = 0; id < w->config.vocab_size; ++id) all_ids.push_back(TokenId{id});
  std::vector<std::uint16_t> rows(embed.size());
  ASSERT_TRUE(w->embed.gather(all_ids, rows.data()));
  for (std::size_t i = 0; i < embed.size(); ++i) ASSERT_EQ(static_cast<double>(bf16_to_float(rows[i])), embed[i]);
  compare.matrix(w->head, Role::kHead);
  compare.plain(w->norm, Role::kNorm);
  compare.matrix(w->hc_head.fn, Role::kHcHeadFn);
  compare.plain(w->hc_head.base, Role::kHcHeadBase);
  compare.plain(w->hc_head.scale, Role::kHcHeadScale);
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l)
    compare_block(compare, c, w->layers[static_cast<std::size_t>(l)], l);
  ASSERT_EQ(w->mtp != nullptr, (*checkpoint)->has_mtp());
  if (w->mtp) {
    const std::int64_t l = c.num_hidden_layers;
    compare.matrix(w->mtp->e_proj, Role::kMtpEProj, l);
    compare.matrix(w->mtp->h_proj, Role::kMtpHProj, l);
    compare.plain(w->mtp->enorm, Role::kMtpENorm, l);
    compare.plain(w->mtp->hnorm, Role::kMtpHNorm, l);
    compare.plain(w->mtp->norm, Role::kNorm, l);
    compare.matrix(w->mtp->hc_head.fn, Role::kHcHeadFn, l);
    compare.plain(w->mtp->hc_head.base, Role::kHcHeadBase, l);
    compare.plain(w->mtp->hc_head.scale, Role::kHcHeadScale, l);
    compare_block(compare, c, w->mtp->block, l);
  }
  int expected = -1;  // all of the table but embed
  for (const TensorSpec& spec : (*checkpoint)->table().tensors())
    expected += spec.presence != Presence::kIgnored ? 1 : 0;
  EXPECT_EQ(compare.tensors(), expected) << "a tensor of the table was not looked at";
  EXPECT_GT(w->resident_bytes, 0);
  EXPECT_NE(w->fingerprint, 0u);
}

void expect_generated_exact(const test::TinyShape& shape) {
  test::TemporaryFolder folder;
  ASSERT_TRUE(test::TinyCheckpoint::generate(shape).write(folder.path()));
  expect_exact(folder.path());
}

TEST(ModelWeights, GoldenBase) { expect_exact(test::golden_path("model/tiny-base")); }
TEST(ModelWeights, GoldenFp4) { expect_exact(test::golden_path("model/tiny-fp4")); }
TEST(ModelWeights, EmbeddedNano) { expect_exact(HADAL_SOURCE_DIR "/nano/weights"); }
TEST(ModelWeights, TinyFlash) { expect_generated_exact(test::tiny_flash()); }
TEST(ModelWeights, TinyPro) { expect_generated_exact(test::tiny_pro()); }
TEST(ModelWeights, TinyBase) { expect_generated_exact(test::tiny_base()); }
TEST(ModelWeights, TinyOdd) { expect_generated_exact(test::tiny_odd()); }
TEST(ModelWeights, TinyOddBase) {
  test::TinyShape shape = test::tiny_odd();
  shape.fp8_experts = shape.f32_scales = true;
  expect_generated_exact(shape);
}
TEST(ModelWeights, TinyPlain) {
  test::TinyShape shape = test::tiny_flash();
  shape.plain = true;
  expect_generated_exact(shape);
}
TEST(ModelWeights, Tiny0731) { expect_generated_exact(test::tiny_0731()); }

TEST(ModelWeights, ExternalGolden) {
  if (test::external_golden().empty()) GTEST_SKIP() << "HADAL_GOLDEN is not set";
  for (const char* name : {"tiny-flash", "tiny-pro", "tiny-base"})
    expect_exact(test::external_golden() + "/model/" + name);
}

// The views stay good when the object moves and when the files go away.
TEST(ModelWeights, OwnsWhatItShows) {
  ModelWeights kept;
  {
    test::TemporaryFolder folder;
    ASSERT_TRUE(test::TinyCheckpoint::generate(test::tiny_flash()).write(folder.path()));
    auto loaded = load_weights(Checkpoint::open(folder.path()).value());
    ASSERT_TRUE(loaded) << loaded.error().what;
    kept = std::move(*loaded);
  }
  std::vector<std::uint16_t> row(static_cast<std::size_t>(kept.config.hidden_size));
  ASSERT_TRUE(kept.embed.gather(std::array{TokenId{7}}, row.data()));
  EXPECT_TRUE(std::isfinite(bf16_to_float(row[0])));
  EXPECT_EQ(unpack(kept.layers[0].attn.wq_a).size(), 64u * 128);
}

}  // namespace
}  // namespace hadal
