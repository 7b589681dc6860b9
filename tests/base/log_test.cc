#include "base/log.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(Log, LevelsAreOrdered) {
  EXPECT_LT(LogLevel::kError, LogLevel::kWarn);
  EXPECT_LT(LogLevel::kInfo, LogLevel::kDebug);
}

TEST(Log, ParsesTheFourWordsAndNothingElse) {
  bool known = false;
  EXPECT_EQ(parse_log_level("debug", &known), LogLevel::kDebug);
  EXPECT_TRUE(known);
  EXPECT_EQ(parse_log_level("error"), LogLevel::kError);
  EXPECT_EQ(parse_log_level("Verbose", &known), LogLevel::kWarn);
  EXPECT_FALSE(known);
}

TEST(Log, OneLineNamesProgramAndLevel) {
  EXPECT_EQ(format_log_line(LogLevel::kWarn, "disk is slow"), "hadal: warning: disk is slow\n");
}

TEST(Log, ContinuationLinesAreIndented) {
  EXPECT_EQ(format_log_line(LogLevel::kError, "first\nsecond"), "hadal: error: first\n  second\n");
}

TEST(Log, WritesToStandardError) {
  testing::internal::CaptureStderr();
  log_at(LogLevel::kError, "{} of {}", 3, 4);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "hadal: error: 3 of 4\n");
}

}  // namespace
}  // namespace hadal
