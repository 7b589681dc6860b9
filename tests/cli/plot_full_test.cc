// A prompt after a million tokens takes some seconds, which the fast suite has not.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

TEST(PlotOption, DepthDrawsBothKindsAndStillPrintsItsRows) {
  const test::TemporaryFolder folder;
  const std::string& at = folder.path();
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
}

}  // namespace
}  // namespace hadal
