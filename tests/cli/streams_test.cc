// Output that nobody takes, streams the caller closed, input that cannot be read: a sentence and a status, never a
// crash and never a success.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/program.h"

namespace hadal {
namespace {

const char* const kPrinting[] = {"$H help run",
                                 "$H --version",
                                 "$H completion bash",
                                 "$H plan --json",
                                 "$H inspect '" HADAL_SOURCE_DIR "/nano/weights' --json",
                                 "$H run -p hi -n 3 --json",
                                 "$H run -p hi -n 3 --quiet",
                                 "echo '\"a\"' | $H tokenize",
                                 "echo '{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}' | $H chat encode"};

TEST(Streams, AFullDiskIsAFailure) {
  for (const std::string command : kPrinting) {
    SCOPED_TRACE(command);
    const Ran ran = run_program(command + " >/dev/full");
    EXPECT_EQ(ran.status, 1);
    EXPECT_NE(ran.err.find("standard output"), std::string::npos) << ran.err;
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
  }
}

TEST(Streams, ClosedStandardOutputIsAFailure) {
  const Ran ran = run_program("$H plan --json >&-");
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("standard output"), std::string::npos) << ran.err;
}

TEST(Streams, NobodyNeedsToReadStandardError) {
  const Ran wanted = run_program("$H run -p hi -n 5 --temp 0");
  ASSERT_EQ(wanted.status, 0) << wanted.err;
  for (const std::string redirection : {"2>&-", "2>/dev/full", "<&- 2>&-"}) {
    const Ran ran = run_program("$H run -p hi -n 5 --temp 0 " + redirection);
    EXPECT_EQ(ran.status, 0) << redirection;
    EXPECT_EQ(ran.out, wanted.out) << redirection;
  }
  EXPECT_EQ(run_program("$H run -p hi --top-p 7 2>/dev/full").status, 2);
}

TEST(Streams, InputThatCannotBeReadIsNotAnEmptyOne) {
  for (const std::string command : {"$H tokenize", "$H chat encode", "$H chat decode", "$H run"}) {
    for (const std::string input : {" </", " <&-"}) {
      const Ran ran = run_program(command + input);
      EXPECT_EQ(ran.status, 2) << command << input;
      EXPECT_NE(ran.err.find("standard input cannot be read"), std::string::npos) << ran.err;
    }
    EXPECT_EQ(run_program(command + " </dev/null").status, 0) << command;
  }
}

TEST(Streams, InterruptedReadingIsFailedWork) {
  for (const std::string command : {"$H tokenize", "$H chat encode", "$H run"}) {
    // 130: the signal came before the program could install its handler; a busy machine needs longer.
    Ran ran;
    for (const int seconds : {1, 4, 20}) {
      const std::string limit = std::to_string(seconds), open = std::to_string(2 * seconds);
      ran = run_program("timeout --preserve-status -s INT " + limit + " " + command + " < <(sleep " + open + ")");
      if (ran.status != 130) break;
    }
    EXPECT_EQ(ran.status, 1) << command << ran.err;
  }
}

}  // namespace
}  // namespace hadal
