#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace hadal {
namespace {

std::string folder() {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("hadal_plot_{}", ::getpid());
  std::filesystem::create_directory(path);
  return path.string();
}

TEST(PlotOption, DepthDrawsBothKindsAndStillPrintsItsRows) {
  const std::string at = folder();
  const Ran ran =
      run_program(fmt::format("$H bench depth --json --seconds 0.01 --plot {0}/a.svg --plot {0}/a.png", at));
  ASSERT_EQ(ran.status, 0) << ran.err;
  const auto out = nlohmann::json::parse(ran.out);
  ASSERT_EQ(out["rows"].size(), 6u);
  EXPECT_EQ(out["rows"][0]["depth"], 8192);
  EXPECT_GT(out["rows"][4]["depth"].get<std::int64_t>(), 1000000);
  EXPECT_GT(out["machine"]["memory_available_bytes"].get<std::int64_t>(), 0);
  EXPECT_GT(std::filesystem::file_size(at + "/a.svg"), 20000u);
  EXPECT_GT(std::filesystem::file_size(at + "/a.png"), 20000u);
  std::filesystem::remove_all(at);
}

TEST(PlotOption, PlanDrawsWithoutMeasuring) {
  const std::string at = folder();
  const Ran ran = run_program(fmt::format("$H plan --model flash --quick --json --plot {}/p.svg", at));
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_GT(std::filesystem::file_size(at + "/p.svg"), 20000u);
  std::filesystem::remove_all(at);
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
