#include <fmt/core.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

TEST(PlotOption, PlanDrawsWithoutMeasuring) {
  const test::TemporaryFolder folder;
  const std::string& at = folder.path();
  const Ran ran = run_program(fmt::format("$H plan --model flash --quick --json --plot {}/p.svg", at));
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_GT(std::filesystem::file_size(at + "/p.svg"), 20000u);
}

TEST(PlotOption, OtherNamesAreRefusedBeforeAnythingIsMeasured) {
  const Ran pdf = run_program("$H bench depth --plot figure.pdf");
  EXPECT_EQ(pdf.status, 2);
  EXPECT_EQ(pdf.out, "");
  EXPECT_NE(pdf.err.find("'figure.pdf' ends in neither .svg nor .png"), std::string::npos) << pdf.err;
  const Ran nowhere = run_program("$H plan --plot /no/such/folder/p.svg");
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_EQ(nowhere.out, "");
}

TEST(Machine, ABenchDescribesItWhole) {
  const Ran model = run_program("$H bench decode --json --seconds 0.01");
  ASSERT_EQ(model.status, 0) << model.err;
  const auto machine = nlohmann::json::parse(model.out)["machine"];
  for (const char* key : {"model", "cores", "isa", "l1d_bytes", "l2_bytes", "l3_bytes", "memory_total_bytes"})
    EXPECT_TRUE(machine.contains(key)) << key;
}

}  // namespace
}  // namespace hadal
