// Takes some seconds, which the fast suite has not.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace hadal {
namespace {

TEST(PlanCommand, TimesTheModelItIsAskedAbout) {
  const Ran ran = run_program("$H plan --model nano --context 8192 --threads 1 --json");
  ASSERT_EQ(ran.status, 0) << ran.err;
  const auto speed = nlohmann::json::parse(ran.out)["speed"];
  ASSERT_EQ(speed["points"].size(), 4u);
  for (const auto& p : speed["points"]) {
    EXPECT_GT(p["decode_tokens_per_second"].get<double>(), 0);
    EXPECT_GT(p["prefill_tokens_per_second"].get<double>(), 0);
  }
  EXPECT_EQ(speed["threads"], 1);
  EXPECT_EQ(speed["placement"]["kind"], "resident");
  EXPECT_EQ(speed["command"], "hadal run");
}

}  // namespace
}  // namespace hadal
