#include "plan/plan.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

constexpr std::int64_t kMillion = 1 << 20;

TEST(Plan, PublishedHeadlines) {
  auto flash = plan_published("flash", kMillion);
  ASSERT_TRUE(flash) << flash.error().what;
  EXPECT_NEAR(flash->cache[0].bytes_per_token, 3514.2, 0.06);
  EXPECT_NEAR(flash->cache[0].of_v32, 0.073, 0.0005);
  EXPECT_NEAR(flash->cache[0].of_gqa8, 0.02, 0.00005);
  EXPECT_NEAR(flash->flops_of_v32, 0.101, 0.0005);
  EXPECT_NEAR(flash->raw_flops_of_v32, 0.121, 0.0005);
  EXPECT_EQ(flash->layers.swa, 2);
  EXPECT_EQ(flash->layers.mtp, 1);
  auto pro = plan_published("pro", kMillion);
  ASSERT_TRUE(pro);
  EXPECT_NEAR(pro->cache[0].of_v32, 0.105, 0.0005);
  EXPECT_NEAR(pro->flops_of_v32, 0.267, 0.0005);
  auto v32 = plan_published("v3.2", kMillion);
  ASSERT_TRUE(v32);
  EXPECT_EQ(v32->flops_of_v32, 1.0);
  EXPECT_EQ(v32->cache[0].of_v32, 1.0);
  EXPECT_EQ(v32->cache[1].of_v32, 1.0);
  EXPECT_FALSE(v32->engine);
  auto gqa = plan_published("gqa8", 1000);
  ASSERT_TRUE(gqa);
  EXPECT_EQ(gqa->cache[0].bytes, 61 * 4096 * 1000);
  EXPECT_FALSE(gqa->flops);
}

TEST(Plan, RefusesWhatItCannotAnswer) {
  auto unknown = plan_published("flush", 1000);
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().what.find("'flush'"), std::string::npos);
  EXPECT_FALSE(plan_published("flash", 0));
  auto longer = plan_published("pro", kMillion + 1);
  ASSERT_FALSE(longer);
  EXPECT_NE(longer.error().what.find("1048576"), std::string::npos);
}

TEST(Plan, ADirectory) {
  auto checkpoint = Checkpoint::open_for_inspection(std::string(HADAL_SOURCE_DIR) + "/nano/weights");
  ASSERT_TRUE(checkpoint) << checkpoint.error().what;
  auto plan = plan_checkpoint("nano", **checkpoint, 100000);
  ASSERT_TRUE(plan) << plan.error().what;
  EXPECT_EQ(plan->weights->total_bytes(), count_stored(**checkpoint).total_bytes());
  EXPECT_GT(plan->engine->session_bytes(100000), plan->cache[0].bytes);
}

TEST(Fit, FollowsTheMachine) {
  auto plan = plan_published("flash", 8192);
  ASSERT_TRUE(plan);
  MachineLimits machine;
  machine.info.memory_available_bytes = 24ll << 30;
  machine.read_bytes_per_second = 65e9;
  machine.bf16_ops_per_second = 465e9;
  machine.int8_ops_per_second = 930e9;
  Fit small = fit(*plan, machine);
  EXPECT_FALSE(small.weights_fit);
  EXPECT_EQ(small.sessions, 0);
  EXPECT_NEAR(small.decode_limit(), 5.79, 0.02);  // the roofline table's figure for these rates
  EXPECT_LT(small.memory_limit, small.arithmetic_limit);

  machine.info.memory_available_bytes = 512ll << 30;
  Fit large = fit(*plan, machine);
  EXPECT_TRUE(large.weights_fit);
  EXPECT_EQ(large.sessions, (machine.info.memory_available_bytes - plan->engine->weights_bytes - large.step_bytes) /
                                plan->engine->session_bytes(8192));

  auto long_plan = plan_published("flash", kMillion);
  EXPECT_NEAR(fit(*long_plan, machine).decode_limit(), 4.88, 0.02);  // bound by arithmetic at a million tokens
}

TEST(Fit, UnmeasuredRatesGiveNoLimit) {
  auto plan = plan_published("pro", 8192);
  EXPECT_EQ(fit(*plan, {}).memory_limit, 0.0);
  EXPECT_EQ(fit(*plan, {}).arithmetic_limit, 0.0);
}

}  // namespace
}  // namespace hadal
