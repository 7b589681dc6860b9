#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace hadal {
namespace {

TEST(PlanCommand, JsonIsOneDocumentWithTheReportsFigures) {
  const Ran ran = run_program("$H plan --model flash --json --quick");
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  const auto plan = nlohmann::json::parse(ran.out);
  EXPECT_EQ(plan["model"], "flash");
  EXPECT_EQ(plan["context"], 1048576);
  EXPECT_EQ(plan["parameters"]["total"], 284332240471);
  EXPECT_NEAR(plan["cache"]["bytes_per_token"].get<double>(), 3514.2, 0.06);
  EXPECT_NEAR(plan["cache"]["of_v3.2"].get<double>(), 0.0732, 0.00006);
  EXPECT_NEAR(plan["flops"]["fp8_equivalent_of_v3.2"].get<double>(), 0.101, 0.0005);
  EXPECT_GT(plan["machine"]["memory_total_bytes"].get<std::int64_t>(), 0);
  EXPECT_TRUE(plan["here"]["weights_fit"].is_boolean());
  EXPECT_TRUE(plan["speed"]["points"].is_null());
  EXPECT_NE(plan["speed"]["why_not"].get<std::string>().find("--quick"), std::string::npos);
  EXPECT_EQ(plan["speed"]["placement"]["experts"], 44 * 256);
  std::int64_t classes = 0;
  for (const auto& c : plan["weights"]["classes"]) classes += c["bytes"].get<std::int64_t>();
  EXPECT_EQ(classes, plan["weights"]["bytes"].get<std::int64_t>());
}

TEST(PlanCommand, ComparesWithoutAModel) {
  const Ran json = run_program("$H plan --context 8192 --json");
  ASSERT_EQ(json.status, 0) << json.err;
  const auto plan = nlohmann::json::parse(json.out);
  std::vector<std::string> names;
  for (const auto& m : plan["models"]) names.push_back(m["model"]);
  EXPECT_EQ(names, (std::vector<std::string>{"nano", "flash", "pro", "v3.2", "gqa8"}));
  EXPECT_TRUE(plan["models"][0]["here"]["weights_fit"]);
  const Ran text = run_program("$H plan --context 8192");
  EXPECT_EQ(text.status, 0);
  for (const auto& name : names) EXPECT_NE(text.out.find("\n  " + name + " "), std::string::npos) << name;
}

TEST(PlanCommand, ADirectoryIsReadFromItsHeaders) {
  const Ran by_directory = run_program("$H plan --quick --json --model " HADAL_SOURCE_DIR "/nano/weights");
  const Ran by_name = run_program("$H plan --quick --json --model nano");
  ASSERT_EQ(by_directory.status, 0) << by_directory.err;
  auto a = nlohmann::json::parse(by_directory.out), b = nlohmann::json::parse(by_name.out);
  for (const char* key : {"parameters", "weights", "cache", "flops", "layers"}) EXPECT_EQ(a[key], b[key]) << key;
}

}  // namespace
}  // namespace hadal
