#include "plan/speed.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "cache/working_memory.h"
#include "layers/footprint.h"
#include "plan/trial_weights.h"

namespace hadal {
namespace {

std::shared_ptr<const Checkpoint> nano() {
  auto checkpoint = Checkpoint::open_for_inspection(std::string(HADAL_SOURCE_DIR) + "/nano/weights");
  return checkpoint ? *checkpoint : nullptr;
}

MachineLimits machine_with(std::int64_t available) {
  MachineLimits m;
  m.info.cores = 2;
  m.info.memory_available_bytes = available;
  m.program_bytes = 10'000'000;
  return m;
}

SpeedEstimate made_up() {
  SpeedEstimate e;
  e.points = {{0, 8, 100}, {8192, 5, 50}, {131072, 4, 20}};
  return e;
}

TEST(Estimate, TimesAModelAtTheDepthsItHas) {
  const auto checkpoint = nano();
  ASSERT_TRUE(checkpoint);
  SpeedOptions options;
  options.threads = 1;
  options.seconds = 0.05;
  options.depths = {0, 100000, 4'000'000};  // the last is beyond the model
  std::vector<double> shares;
  options.progress = [&](double share) {
    shares.push_back(share);
    return true;
  };
  const auto e = estimate_speed(checkpoint->config(), checkpoint->table(), stored_dtypes(*checkpoint),
                                std::int64_t{4} << 30, options);
  ASSERT_TRUE(e) << e.error().what;
  ASSERT_EQ(e->points.size(), 2u);
  EXPECT_EQ(e->timed_layers, 5);  // a model that small is timed whole
  EXPECT_EQ(e->points[1].depth, 100000);
  EXPECT_TRUE(std::isfinite(e->points[0].decode_tokens_per_second));
  EXPECT_GT(e->points[1].prefill_tokens_per_second, 0);
  // 25,000 keys to score and 780 rows to attend in every other layer: several times the work.
  EXPECT_LT(e->points[1].decode_tokens_per_second, e->points[0].decode_tokens_per_second);
  EXPECT_LT(e->points[1].prefill_tokens_per_second, e->points[0].prefill_tokens_per_second);
  EXPECT_EQ(shares.front(), 0);
  EXPECT_EQ(shares.back(), 1);
}

TEST(Estimate, StopsAndRefuses) {
  const auto checkpoint = nano();
  SpeedOptions options;
  options.threads = 1;
  options.progress = [](double) { return false; };
  const auto stopped = estimate_speed(checkpoint->config(), checkpoint->table(), stored_dtypes(*checkpoint),
                                      std::int64_t{4} << 30, options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  options.progress = {};
  const auto small =
      estimate_speed(checkpoint->config(), checkpoint->table(), stored_dtypes(*checkpoint), 1 << 20, options);
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().code, ErrorCode::kNoMemory);
}

TEST(TrialWeights, HaveTheModelsShapesInMemoryOfTheirOwn) {
  const auto checkpoint = nano();
  const ModelConfig& c = checkpoint->config();
  const auto all = make_trial_weights(c, checkpoint->table(), stored_dtypes(*checkpoint), 64 << 20, 1 << 30);
  ASSERT_TRUE(all) << all.error().what;
  auto real = load_weights(*Checkpoint::open(std::string(HADAL_SOURCE_DIR) + "/nano/weights"));
  ASSERT_TRUE(real);
  ASSERT_EQ(all->weights.layers.size(), real->layers.size());
  EXPECT_EQ(all->vocabulary, c.vocab_size);
  std::set<const std::byte*> tiles;
  for (std::size_t l = 0; l < real->layers.size(); ++l) {
    const BlockWeights &a = all->weights.layers[l], &b = real->layers[l];
    const auto same = [&](const PackedMatrix& x, const PackedMatrix& y) {
      EXPECT_EQ(x.encoding, y.encoding);
      EXPECT_EQ(x.rows, y.rows);
      EXPECT_EQ(x.cols, y.cols);
      if (x.rows == 0) return;
      EXPECT_GE(x.tiles, all->arena.at(0));
      EXPECT_LE(x.tiles + x.bytes(), all->arena.at(0) + all->arena.bytes());
      EXPECT_TRUE(tiles.insert(x.tiles).second);
    };
    same(a.hc_attn.fn, b.hc_attn.fn);
    same(a.hc_ffn.fn, b.hc_ffn.fn);
    same(a.attn.wq_a, b.attn.wq_a);
    same(a.attn.wq_b, b.attn.wq_b);
    same(a.attn.wkv, b.attn.wkv);
    ASSERT_EQ(a.attn.wo_a.size(), b.attn.wo_a.size());
    for (std::size_t g = 0; g < a.attn.wo_a.size(); ++g) same(a.attn.wo_a[g], b.attn.wo_a[g]);
    same(a.attn.wo_b, b.attn.wo_b);
    same(a.attn.compressor.wkv, b.attn.compressor.wkv);
    same(a.attn.indexer.wq_b, b.attn.indexer.wq_b);
    same(a.attn.indexer.weights_proj, b.attn.indexer.weights_proj);
    same(a.attn.indexer.compressor.wgate, b.attn.indexer.compressor.wgate);
    same(a.ffn.gate, b.ffn.gate);
    same(a.ffn.shared.w2, b.ffn.shared.w2);
    ASSERT_EQ(a.ffn.experts.size(), b.ffn.experts.size());
    for (std::size_t e = 0; e < a.ffn.experts.size(); ++e) same(a.ffn.experts[e].w2, b.ffn.experts[e].w2);
  }
  // With no cache to outrun, a layer of each kind is enough.
  const auto few = make_trial_weights(c, checkpoint->table(), stored_dtypes(*checkpoint), 1, 1 << 30);
  ASSERT_TRUE(few);
  EXPECT_EQ(few->layers.size(), 3u);
}

TEST(Place, EverythingInMemoryWhenItFits) {
  auto plan = plan_published("flash", 131072);
  ASSERT_TRUE(plan);
  const MachineLimits machine = machine_with(std::int64_t{200} << 30);
  const PlacementPlan p = place(*plan, machine, made_up(), 0);
  EXPECT_EQ(p.placement, Placement::kResident);
  EXPECT_EQ(p.longest_context, 1 << 20);
  EXPECT_EQ(p.experts, 44 * 256);  // with the MTP block
  EXPECT_EQ(p.dense_bytes + p.experts * p.expert_bytes, plan->engine->weights_bytes);
}

TEST(Place, TheLongestContextIsTheLongest) {
  auto plan = plan_published("flash", 8192);
  ASSERT_TRUE(plan);
  const EngineMemory& e = *plan->engine;
  ModelOptions options;
  options.threads = 2;
  const auto keep = place_experts(*plan->config, options, 300 * 1024, ExpertPlacement::kAuto).keep_free_bytes;
  const MachineLimits machine = machine_with(e.weights_bytes + keep);
  const PlacementPlan p = place(*plan, machine, {}, 0);
  EXPECT_EQ(p.placement, Placement::kResident);
  EXPECT_EQ(p.longest_context, 300 * 1024);
}

TEST(Place, ExpertsGoToDiskWhenOnlyTheRestFits) {
  auto plan = plan_published("flash", 131072);
  ASSERT_TRUE(plan);
  const MachineLimits machine = machine_with(std::int64_t{24} << 30);
  EXPECT_TRUE(place(*plan, machine, made_up(), 0).hit_rates.empty());  // an unmeasured disk gives no speed
  const PlacementPlan p = place(*plan, machine, made_up(), 2e9);
  EXPECT_EQ(p.placement, Placement::kExpertsOnDisk);
  EXPECT_GT(p.experts_in_memory, 800);
  EXPECT_LT(p.experts_in_memory, 1300);
  ASSERT_EQ(p.hit_rates.size(), 5u);
  EXPECT_NEAR(p.hit_rates[0].hits, static_cast<double>(p.experts_in_memory) / (44 * 256), 1e-12);
  // 4 tokens/s at this depth if nothing were read; 3.45 GB of experts a token, half of them at 2 GB/s.
  EXPECT_NEAR(p.hit_rates[2].decode_tokens_per_second, 1 / (0.25 + 0.5 * 3.449 / 2), 0.001);
  for (std::size_t i = 1; i < p.hit_rates.size(); ++i)
    EXPECT_GT(p.hit_rates[i].decode_tokens_per_second, p.hit_rates[i - 1].decode_tokens_per_second);
  EXPECT_LT(p.prefill_tokens_per_second, 20);
  EXPECT_GT(p.prefill_tokens_per_second, 384 / (384 / 20.0 + 148e9 / 2e9));
}

TEST(Place, ExpertMemoryIsDividedAsTheStoreDividesIt) {
  auto plan = plan_published("flash", 8192);
  ASSERT_TRUE(plan);
  const MachineLimits machine = machine_with(std::int64_t{400} << 30);
  EXPECT_EQ(place(*plan, machine, made_up(), 2e9).placement, Placement::kResident);
  constexpr std::int64_t kMemory = std::int64_t{8} << 30;
  const PlacementPlan p = place(*plan, machine, made_up(), 2e9, kMemory);
  EXPECT_EQ(p.placement, Placement::kExpertsOnDisk);
  EXPECT_EQ(p.expert_memory_bytes, kMemory);
  // Twelve buffers, a little larger than an expert, and slots.
  EXPECT_NEAR(static_cast<double>(p.experts_in_memory), static_cast<double>(kMemory) / 13'369'344 - 12, 1.5);
  EXPECT_EQ(place(*plan, machine, {}, 0, ExpertPlacement::kAll).placement, Placement::kResident);
  const PlacementPlan little = place(*plan, machine, {}, 0, std::int64_t{50} << 20);
  EXPECT_EQ(little.placement, Placement::kNone);
  EXPECT_NE(little.why.find("do not hold the 6 of one token"), std::string::npos) << little.why;
  EXPECT_EQ(place(*plan, machine_with(std::int64_t{24} << 30), {}, 0, ExpertPlacement::kAll).placement,
            Placement::kNone);
}

TEST(Place, SaysWhyNothingFits) {
  auto plan = plan_published("pro", 8192);
  ASSERT_TRUE(plan);
  const PlacementPlan p = place(*plan, machine_with(std::int64_t{8} << 30), made_up(), 2e9);
  EXPECT_EQ(p.placement, Placement::kNone);
  EXPECT_NE(p.why.find("8.6 GB are available"), std::string::npos) << p.why;
  EXPECT_EQ(p.longest_context, 0);
}

TEST(PromptSeconds, AddsUpAlongTheDepths) {
  const SpeedEstimate e = made_up();
  EXPECT_EQ(prompt_seconds({}, 100), 0);
  EXPECT_NEAR(prompt_seconds(e, 8192), 8192 * (0.01 + 0.02) / 2, 1e-9);
  EXPECT_NEAR(prompt_seconds(e, 4096), 4096 * (0.01 + 0.015) / 2, 1e-9);
  EXPECT_NEAR(prompt_seconds(e, 131072 + 1000), 8192 * 0.015 + 122880 * (0.02 + 0.05) / 2 + 1000 * 0.05, 1e-6);
}

}  // namespace
}  // namespace hadal
