// The completion script in a real bash.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "cli/program.h"

namespace hadal {
namespace {

// What bash offers after typing these words; the last one is being completed (it may be empty).
std::vector<std::string> complete(const std::vector<std::string>& words, const std::string& setup = "") {
  std::string list;
  for (const auto& w : words) list += " '" + w + "'";
  const Ran ran =
      run_program("source <($H completion bash) || exit 9\n" + setup + "\nCOMP_WORDS=(" + list +
                  "); COMP_CWORD=" + std::to_string(words.size() - 1) + "\n_hadal\nprintf '%s\\n' \"${COMPREPLY[@]}\"");
  EXPECT_EQ(ran.status, 0) << ran.err;
  std::vector<std::string> offered;
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) offered.push_back(line);
  }
  std::sort(offered.begin(), offered.end());
  return offered;
}

using Words = std::vector<std::string>;

TEST(Completion, Commands) {
  EXPECT_EQ(complete({"hadal", "pl"}), Words{"plan"});
  EXPECT_EQ(complete({"hadal", "c"}), (Words{"chat", "completion"}));
  EXPECT_EQ(complete({"hadal", "chat", ""}), (Words{"decode", "encode"}));
  EXPECT_EQ(complete({"hadal", "session", "r"}), (Words{"remove", "rewind"}));
  EXPECT_EQ(complete({"hadal", "help", "chat", "d"}), Words{"decode"});
}

TEST(Completion, Options) {
  EXPECT_EQ(complete({"hadal", "plan", "--"}),
            (Words{"--context", "--expert-memory", "--help", "--json", "--model", "--plot", "--quick", "--threads"}));
  EXPECT_EQ(complete({"hadal", "chat", "decode", "--l"}), Words{"--lenient"});
  EXPECT_EQ(complete({"hadal", "session", "fork", "--"}),
            (Words{"--as", "--at", "--branch", "--data", "--help", "--json"}));
  EXPECT_EQ(complete({"hadal", "run", "--to"}), (Words{"--tools", "--top-k", "--top-p"}));
}

TEST(Completion, Values) {
  EXPECT_EQ(complete({"hadal", "run", "--think", ""}), (Words{"high", "max", "none"}));
  EXPECT_EQ(complete({"hadal", "run", "--think", "=", "h"}), Words{"high"});
  EXPECT_EQ(complete({"hadal", "run", "--think", "="}), (Words{"high", "max", "none"}));
  EXPECT_EQ(complete({"hadal", "run", "--numerics", "e"}), Words{"exact"});
  EXPECT_EQ(complete({"hadal", "completion", ""}), Words{"bash"});
  EXPECT_EQ(complete({"hadal", "run", "--seed", ""}), Words{});  // a number: nothing to offer
}

TEST(Completion, FilesAndDirectories) {
  const std::string setup =
      "d=$(mktemp -d); trap 'rm -rf \"$d\"' EXIT; mkdir \"$d/model\"; touch \"$d/notes.txt\"; cd \"$d\"";
  EXPECT_EQ(complete({"hadal", "run", "--model", ""}, setup), Words{"model"});
  EXPECT_EQ(complete({"hadal", "run", "--file", ""}, setup), (Words{"model", "notes.txt"}));
  EXPECT_EQ(complete({"hadal", "inspect", "m"}, setup), Words{"model"});
}

TEST(Completion, PlanOffersNamesAndDirectories) {
  const std::string setup = "d=$(mktemp -d); trap 'rm -rf \"$d\"' EXIT; mkdir \"$d/flat\"; cd \"$d\"";
  EXPECT_EQ(complete({"hadal", "plan", "--model", "fla"}, setup), (Words{"flash", "flash-base", "flat"}));
}

}  // namespace
}  // namespace hadal
