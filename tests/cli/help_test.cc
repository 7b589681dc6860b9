#include <gtest/gtest.h>

#include <sstream>

#include "cli/program.h"

namespace hadal {
namespace {

const char* const kCommands[] = {"run",
                                 "serve",
                                 "plan",
                                 "inspect",
                                 "logits",
                                 "tokenize",
                                 "chat encode",
                                 "chat decode",
                                 "bench kernels",
                                 "bench decode",
                                 "bench prefill",
                                 "bench depth",
                                 "bench load",
                                 "bench restore",
                                 "bench sessions",
                                 "bench slice",
                                 "eval cases",
                                 "completion",
                                 "session list",
                                 "session show",
                                 "session branches",
                                 "session diff",
                                 "session fork",
                                 "session rewind",
                                 "session export",
                                 "session import",
                                 "session verify",
                                 "session remove",
                                 "sandbox doctor",
                                 "sandbox up",
                                 "sandbox create",
                                 "sandbox ls",
                                 "sandbox exec",
                                 "sandbox shell",
                                 "sandbox cp",
                                 "sandbox pause",
                                 "sandbox resume",
                                 "sandbox rm",
                                 "sandbox bench"};

TEST(Help, EveryCommandHasAPage) {
  for (const std::string command : kCommands) {
    SCOPED_TRACE(command);
    const Ran page = run_program("$H help " + command);
    EXPECT_EQ(page.status, 0);
    EXPECT_EQ(page.err, "");
    for (const char* part : {"Usage\n", "Description\n", "Options\n", "Exit status\n", "Examples\n"}) {
      EXPECT_NE(page.out.find(part), std::string::npos) << part;
    }
    EXPECT_EQ(run_program("$H " + command + " --help").out, page.out);
  }
}

TEST(Help, LinesFitATerminal) {
  for (const std::string command :
       {"", "run", "plan", "logits", "eval cases", "bench slice", "session show", "session verify"}) {
    std::istringstream lines(run_program("$H help " + command).out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }
}

TEST(Help, TheTopListsEveryCommand) {
  const Ran top = run_program("$H help");
  EXPECT_EQ(top.status, 0);
  for (const char* name :
       {"run", "serve", "plan", "inspect", "logits", "tokenize", "chat", "bench", "eval", "session", "completion"}) {
    EXPECT_NE(top.out.find("\n  " + std::string(name) + " "), std::string::npos) << name;
  }
  EXPECT_EQ(run_program("$H --help").out, top.out);
}

TEST(Usage, MistakesAreOneSentenceAndStatusTwo) {
  struct Case {
    const char *arguments, *says;
  };
  const Case cases[] = {
      {"", "'hadal' needs a command"},
      {"chat", "'hadal chat' needs a command"},
      {"pln", "did you mean 'plan'?"},
      {"frobnicate", "'hadal help' lists them"},
      {"chat encod", "did you mean 'encode'?"},
      {"help pln", "did you mean 'plan'?"},
      {"plan --jsno", "'hadal plan' has no option '--jsno'; did you mean '--json'?"},
      {"plan --nonsense", "see 'hadal help plan'"},
      {"plan --context abc", "see 'hadal help plan'"},
      {"plan --context 0", "a context of 0 tokens"},
      {"plan --model no-such-model", "no-such-model"},
      {"run --think sometimes -p x", "{none,high,max}"},
      {"inspect", "directory is required"},
      {"inspect a b", "hadal inspect"},
      {"logits --ids x.json", "--out is required"},
      {"completion zsh", "{bash}"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.arguments);
    const Ran ran = run_program(std::string("$H ") + c.arguments + " </dev/null");
    EXPECT_EQ(ran.status, 2);
    EXPECT_EQ(ran.out, "");
    EXPECT_TRUE(ran.err.starts_with("hadal: ")) << ran.err;
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
    EXPECT_NE(ran.err.find(c.says), std::string::npos) << ran.err;
  }
}

TEST(Version, IsOneLine) {
  const Ran ran = run_program("$H --version");
  EXPECT_EQ(ran.status, 0);
  EXPECT_TRUE(ran.out.starts_with("hadal ")) << ran.out;
  EXPECT_EQ(ran.out.back(), '\n');
}

}  // namespace
}  // namespace hadal
