// --expert-memory: the same answer with experts from disk, and what was read on the statistics line.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace hadal {
namespace {

const std::string kRun =
    "$H run --model '" HADAL_SOURCE_DIR "/nano/weights' -p 'What is the code of Anna?' --temp 0 -n 24";

TEST(ExpertMemory, GivesTheSameAnswerFromDisk) {
  const Ran all = run_program(kRun + " --json --expert-memory all"),
            some = run_program(kRun + " --json --expert-memory 320K");
  ASSERT_EQ(all.status, 0) << all.err;
  ASSERT_EQ(some.status, 0) << some.err;
  const auto resident = nlohmann::json::parse(all.out), streamed = nlohmann::json::parse(some.out);
  EXPECT_EQ(resident["ids"], streamed["ids"]);
  EXPECT_FALSE(resident.contains("experts"));
  const auto& experts = streamed["experts"];
  EXPECT_LE(experts["memory_bytes"], 320 << 10);
  EXPECT_GT(experts["bytes_read"], 0);
  EXPECT_GT(experts["hits"], 0);
  EXPECT_GT(experts["misses"], 0);
}

TEST(ExpertMemory, IsOnTheStatisticsLine) {
  const Ran some = run_program(kRun + " --expert-memory 320K");
  EXPECT_NE(some.err.find("experts in memory"), std::string::npos) << some.err;
  EXPECT_EQ(run_program(kRun).err.find("experts in memory"), std::string::npos);
}

TEST(ExpertMemory, RefusesWhatIsNotASize) {
  for (const std::string size : {"12X", "-1", "0", "''", "K", "9999999999999T", "1.5G"}) {
    const Ran ran = run_program(kRun + " --expert-memory " + size);
    EXPECT_EQ(ran.status, 2) << size;
    EXPECT_NE(ran.err.find("is not a size"), std::string::npos) << ran.err;
  }
  const Ran little = run_program(kRun + " --expert-memory 10K");
  EXPECT_EQ(little.status, 1);
  EXPECT_NE(little.err.find("for experts are too little"), std::string::npos) << little.err;
  const Ran embedded = run_program("$H run -p hi --expert-memory 10K");
  EXPECT_EQ(embedded.status, 2);
  EXPECT_NE(embedded.err.find("is part of the program"), std::string::npos) << embedded.err;
}

}  // namespace
}  // namespace hadal
