// The definition on its own: its small operators against values worked out by hand, its limits, its traces.
#include "model/reference_model.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "layers/rotary.h"
#include "model/golden_model.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using namespace reference;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const Checkpoint> open_tiny(const test::TinyShape& shape) {
  const test::TemporaryFolder folder;  // the maps outlive the files
  EXPECT_TRUE(test::TinyCheckpoint::generate(shape).write(folder.path()));
  auto checkpoint = Checkpoint::open(folder.path());
  EXPECT_TRUE(checkpoint) << (checkpoint ? "" : checkpoint.error().what);
  return checkpoint ? *checkpoint : nullptr;
}

std::vector<TokenId> ids_of(std::initializer_list<int> values) {
  std::vector<TokenId> ids;
  for (int v : values) ids.push_back(TokenId{v});
  return ids;
}

// --- operators

TEST(ReferenceMath, MultipliesMatricesOfAnyHeight) {
  for (std::int64_t rows : {1, 7, 8, 9, 17}) {
    Vector w;
    for (std::int64_t r = 0; r < rows; ++r) w.insert(w.end(), {static_cast<double>(r), 1, -2});
    const Vector y = multiply(make_matrix(w, rows, 3, false), Vector{10, 3, 0.5});
    ASSERT_EQ(static_cast<std::int64_t>(y.size()), rows);
    for (std::int64_t r = 0; r < rows; ++r)
      EXPECT_EQ(y[static_cast<std::size_t>(r)], 10.0 * static_cast<double>(r) + 2);
  }
}

TEST(ReferenceMath, RoundsInputsOfQuantisedMatricesInRegimeFullOnly) {
  // 448 sets the scale of its block to 1; 17 lies between the codes 16 and 18, and goes to the even one.
  Vector x(129, 0.0);
  x[0] = 448;
  x[1] = 17;
  x[128] = 17;  // a block of its own, scale 2^-4: 272 rounds to 272 = 17 * 16 between 256 and 288
  Vector row(129, 0.0);
  row[1] = 1;
  row[128] = 1000;
  Setting setting;
  Matrix w = make_matrix(row, 1, 129, true);
  EXPECT_EQ(linear(setting, w, x)[0], 17017);
  setting.round_inputs = true;
  EXPECT_EQ(linear(setting, w, x)[0], 16 + 1000 * 16);
  w.quantised = false;
  EXPECT_EQ(linear(setting, w, x)[0], 17017);
}

TEST(ReferenceMath, RotatesAdjacentPairsOfTheLastChannels) {
  Vector x = {5, 1, 0, 0, 2};
  const std::vector<float> frequencies = {static_cast<float>(std::numbers::pi / 2), 0.0f};
  rotate(x, 1, frequencies);
  EXPECT_THAT(x, ElementsAre(5, DoubleNear(0, 1e-7), DoubleNear(1, 1e-7), 0, 2));
  rotate(x, 1, frequencies, Turn::kBack);
  EXPECT_THAT(x, ElementsAre(5, DoubleNear(1, 1e-12), DoubleNear(0, 1e-12), 0, 2));
}

TEST(ReferenceMath, FormsTheAngleInFloat32) {
  // At a million tokens the float32 product is off by milliradians and more: the official trajectory, not the exact
  // one.
  Vector x = {1, 0};
  const float f = 0.7498942f;
  const Position t = 1048560;
  rotate(x, t, {f});
  const auto angle = static_cast<double>(static_cast<float>(t) * f);
  EXPECT_EQ(x[0], std::cos(angle));
  EXPECT_GT(std::abs(angle - static_cast<double>(t) * static_cast<double>(f)), 1e-3);
}

TEST(ReferenceMath, HadamardIsSylvesterOrderAndItsOwnInverse) {
  Vector x = {1, 0, 0, 0};
  hadamard(x);
  EXPECT_THAT(x, ElementsAre(0.5, 0.5, 0.5, 0.5));
  x = {0, 0, 1, 0};
  hadamard(x);
  EXPECT_THAT(x, ElementsAre(0.5, 0.5, -0.5, -0.5));
  hadamard(x);
  EXPECT_THAT(x, ElementsAre(0, 0, 1, 0));
}

TEST(ReferenceMath, PicksTheLargestAndTheLowerIndexOfEqualOnes) {
  EXPECT_THAT(largest(Vector{1, 3, 3, 2, 3}, 2), ElementsAre(1, 2));
  EXPECT_THAT(largest(Vector{1, 2}, 5), ElementsAre(0, 1));
  EXPECT_THAT(largest(Vector{}, 3), ElementsAre());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(largest(Vector{nan, 1, nan, 0, nan}, 2), ElementsAre(1, 3));
}

TEST(ReferenceMath, SqrtSoftplusNeitherOverflowsNorLosesSmallValues) {
  EXPECT_DOUBLE_EQ(sqrt_softplus(0), std::sqrt(std::log(2)));
  EXPECT_DOUBLE_EQ(sqrt_softplus(1e4), 100);
  EXPECT_DOUBLE_EQ(sqrt_softplus(-60), std::exp(-30));
}

// --- hyper-connections

TEST(ReferenceBlock, MixingColumnsSumToOne) {
  Setting setting;
  setting.config.hidden_size = 2;
  setting.config.hc_mult = 3;
  setting.config.hc_sinkhorn_iters = 20;
  setting.config.hc_eps = 1e-6;
  setting.config.rms_norm_eps = 1e-6;
  Vector fn(15 * 6);
  for (std::size_t i = 0; i < fn.size(); ++i) fn[i] = std::sin(static_cast<double>(7 * i));
  HyperConnection weights{make_matrix(fn, 15, 6, false), Vector(15, 0.25), {1, 0.5, 2}};
  const Vector X = {1, -2, 0.5, 3, -1, 0.25};
  const Mix mix = hyper_connection(setting, weights, X);
  for (std::size_t k = 0; k < 3; ++k) EXPECT_NEAR(mix.B[k] + mix.B[3 + k] + mix.B[6 + k], 1, 1e-5);
  // The first index of B is the source stream: with a unit mixing towards stream 2, only that one changes.
  Mix to_last{{0, 0, 0}, {0, 0, 0}, {0, 0, 1, 0, 0, 1, 0, 0, 1}};
  EXPECT_THAT(hc_post(setting, to_last, {9, 9}, X), ElementsAre(0, 0, 0, 0, 0.5, 1.25));
}

// --- limits

TEST(ReferenceModel, RefusesIdsOutsideTheVocabularyAndKeepsItsState) {
  auto checkpoint = open_tiny(test::tiny_flash());
  auto model = ReferenceModel::load(*checkpoint, {.threads = 1});
  ASSERT_TRUE(model) << model.error().what;
  auto before = model->feed(ids_of({1, 2, 3}));
  ASSERT_TRUE(before);
  for (int bad : {-1, static_cast<int>(model->config().vocab_size)}) {
    auto fed = model->feed(ids_of({4, bad}));
    ASSERT_FALSE(fed);
    EXPECT_EQ(fed.error().code, ErrorCode::kUsage);
    EXPECT_THAT(fed.error().what, HasSubstr("at position 4"));
  }
  EXPECT_EQ(model->length(), 3);
  auto after = model->feed(ids_of({4}));
  model->reset();
  auto whole = model->feed(ids_of({1, 2, 3, 4}));
  ASSERT_TRUE(after && whole);
  EXPECT_TRUE(std::equal(after->main.begin(), after->main.end(), whole->main.end() - model->config().vocab_size));
}

TEST(ReferenceModel, RefusesTokensBeyondTheContext) {
  const test::TemporaryFolder folder;
  auto tiny = test::TinyCheckpoint::generate(test::tiny_flash());
  tiny.set_config("max_position_embeddings", "5");
  ASSERT_TRUE(tiny.write(folder.path()));
  auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().what;
  auto model = ReferenceModel::load(**checkpoint, {.threads = 1});
  ASSERT_TRUE(model);
  EXPECT_TRUE(model->feed(ids_of({1, 2, 3})));
  auto fed = model->feed(ids_of({1, 2, 3}));
  ASSERT_FALSE(fed);
  EXPECT_THAT(fed.error().what, HasSubstr("context of 5"));
  EXPECT_TRUE(model->feed(ids_of({1, 2})));
  EXPECT_EQ(model->length(), 5);
}

TEST(ReferenceModel, RefusesMtpWithoutTheBlockAndTablesOfAnotherSize) {
  test::TinyShape shape = test::tiny_flash();
  shape.mtp = false;
  auto checkpoint = open_tiny(shape);
  auto refused = ReferenceModel::load(*checkpoint, {.mtp = true});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  auto model = ReferenceModel::load(*checkpoint, {.threads = 1});
  ASSERT_TRUE(model);
  auto fed = model->feed(ids_of({1, 2}));
  ASSERT_TRUE(fed);
  EXPECT_TRUE(fed->mtp.empty());
  refused = ReferenceModel::load(*checkpoint, {.plain_frequencies = std::vector<float>(3)});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("has 3 entries"));
}

TEST(ReferenceModel, CountsEightBytesAParameter) {
  // 284.33 billion parameters without the MTP block (spec 1.1): as doubles no machine at hand holds them.
  ModelConfig c;
  c.vocab_size = 129280, c.hidden_size = 4096, c.num_hidden_layers = 43, c.num_hash_layers = 3,
  c.num_nextn_predict_layers = 1;
  c.num_attention_heads = 64, c.head_dim = 512, c.qk_rope_head_dim = 64, c.q_lora_rank = 1024, c.o_groups = 8,
  c.o_lora_rank = 1024;
  c.sliding_window = 128, c.index_n_heads = 64, c.index_head_dim = 128, c.index_topk = 512, c.n_routed_experts = 256;
  c.num_experts_per_tok = 6, c.moe_intermediate_size = 2048, c.hc_mult = 4, c.hc_sinkhorn_iters = 20;
  c.compress_ratios = {0, 0};
  for (int i = 0; i < 20; ++i) c.compress_ratios.insert(c.compress_ratios.end(), {4, 128});
  c.compress_ratios.insert(c.compress_ratios.end(), {4, 0});
  const TensorTable table(c);
  const auto hash_table = 3 * 129280 * 6;  // counted too, though integers are no parameters
  EXPECT_NEAR(static_cast<double>(weight_bytes(table, false) / 8 - hash_table), 284.33e9, 0.01e9);
  EXPECT_GT(weight_bytes(table, true), weight_bytes(table, false));
}

// --- traces: where a difference begins, not only that there is one. The stored ones come from the independent
// implementation with a frequency table of its own (golden README), an ulp away from the one stored here in a few
// places: hence 1e-5 rather than 1e-6.

class ReferenceTraces : public test::GoldenModelTest {};

TEST_P(ReferenceTraces, StreamsEntriesKeysAndSelectionsOfEveryLayer) {
  test::EngineUnderTest engine = this->engine(test::EngineKind::kReference, test::Regime::kF32);
  ReferenceModel& model = engine.reference();
  std::vector<ReferenceTrace> trace;
  ASSERT_TRUE(model.feed(golden_.ids(golden_.cases().back()), &trace));
  const auto positions = test::tensor<std::int64_t>(golden_.file, "trace.pos");
  const ModelConfig& c = model.config();

  auto expect_rows = [&](const std::string& key, auto row) {
    const auto want = test::tensor<float>(golden_.file, key);
    std::size_t at = 0;
    for (std::size_t i = 0; at < want.size(); ++i)
      for (double v : row(i)) ASSERT_NEAR(v, want[at++], 1e-5) << key << " row " << i;
  };
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    const std::string key = "trace.layer" + std::to_string(l);
    const ReferenceTrace& layer = trace[static_cast<std::size_t>(l)];
    expect_rows(key + ".stream", [&](std::size_t i) { return layer.streams[static_cast<std::size_t>(positions[i])]; });
    if (c.ratio(l) != 0) expect_rows(key + ".comp", [&](std::size_t i) { return model.state(l).entries.entries[i]; });
    if (c.ratio(l) != 4) continue;
    expect_rows(key + ".idx_keys", [&](std::size_t i) { return model.state(l).keys.entries[i]; });
    const auto want = test::tensor<std::int32_t>(golden_.file, key + ".topk");  // padded with -1
    for (std::size_t i = 0; i < positions.size(); ++i) {
      std::vector<std::int64_t> picked = layer.selected[static_cast<std::size_t>(positions[i])];
      picked.resize(static_cast<std::size_t>(c.index_topk), -1);
      for (std::size_t k = 0; k < picked.size(); ++k)
        EXPECT_EQ(picked[k], want[i * picked.size() + k]) << key << " position " << positions[i];
    }
  }
}

TEST_P(ReferenceTraces, ComputedFrequenciesAreTheStoredOnesWithinOneUlp) {
  const ModelConfig& c = golden_.checkpoint->config();
  const test::FrequencyTables want = golden_.tables();
  const auto plain = plain_frequencies(c), compressed = compressed_frequencies(c);
  ASSERT_EQ(plain.size(), want.plain.size());
  for (std::size_t i = 0; i < plain.size(); ++i) {
    EXPECT_NEAR(plain[i], want.plain[i], std::abs(want.plain[i]) * 0x1p-23f);
    EXPECT_NEAR(compressed[i], want.compressed[i], std::abs(want.compressed[i]) * 0x1p-22f);
  }
}

INSTANTIATE_TEST_SUITE_P(Fast, ReferenceTraces, testing::Values("tiny-base"), test::golden_name);

}  // namespace
}  // namespace hadal
