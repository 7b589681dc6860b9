// hadal tokenize as a program: lines in, lines out, exit status.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tokens/samples.h"

namespace hadal {
namespace {

struct Outcome {
  std::string output, errors;
  int status;
};

Outcome tokenize(const std::string& arguments, const std::string& input) {
  const std::string base = testing::TempDir() + "hadal_tokenize_" + std::to_string(::getpid());
  {
    std::ofstream(base + ".in", std::ios::binary) << input;
  }
  const std::string command =
      "'" HADAL_PROGRAM "' tokenize " + arguments + " <'" + base + ".in' >'" + base + ".out' 2>'" + base + ".err'";
  const int raw = std::system(command.c_str());
  Outcome outcome{test::read_text(base + ".out"), test::read_text(base + ".err"),
                  WIFEXITED(raw) ? WEXITSTATUS(raw) : -1};
  for (const char* suffix : {".in", ".out", ".err"}) std::remove((base + suffix).c_str());
  return outcome;
}

std::string ids_line(const std::vector<TokenId>& ids) {
  std::string line;
  for (TokenId id : ids) line += (line.empty() ? "" : ", ") + std::to_string(to_int(id));
  return "[" + line + "]\n";
}

TEST(CmdTokenize, GivesIdsPerLineWithTheEmbeddedModel) {
  const auto outcome = tokenize("", "\"Hello, world\"\n\"\"\n\"<think>\\u00e9\\n\\ud83d\\ude42\"");
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.output,
            ids_line(test::nano().encode("Hello, world")) + "[]\n" + ids_line(test::nano().encode("<think>é\n🙂")));
}

TEST(CmdTokenize, LiteralRecognisesNoMarkers) {
  const auto outcome = tokenize("--literal --model '" HADAL_SOURCE_DIR "/nano/weights'", "\"<think>\"\n");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_EQ(outcome.output, ids_line(test::nano().encode_literal("<think>")));
}

TEST(CmdTokenize, DecodesAsAStream) {
  const auto ids = test::nano().encode("é");
  ASSERT_EQ(ids.size(), 2u);
  const std::string first = std::to_string(to_int(ids[0])), second = std::to_string(to_int(ids[1]));
  const auto outcome = tokenize("--decode", "[" + first + ", " + second + "]\n[" + first + "]\n[]\n");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  std::istringstream lines(outcome.output);
  std::string line;
  std::vector<nlohmann::json> answers;
  while (std::getline(lines, line)) answers.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0], (nlohmann::json{{"deltas", {"", "é"}}, {"tail", ""}}));
  EXPECT_EQ(answers[1], (nlohmann::json{{"deltas", {""}}, {"tail", "\uFFFD"}}));
  EXPECT_EQ(answers[2], (nlohmann::json{{"deltas", nlohmann::json::array()}, {"tail", ""}}));
}

void expect_bad_line(const std::string& arguments, const std::string& input, const std::string& expected) {
  const auto outcome = tokenize(arguments, input);
  EXPECT_EQ(outcome.status, 2) << input;
  EXPECT_NE(outcome.errors.find(expected), std::string::npos) << outcome.errors;
  EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1) << outcome.errors;
}

TEST(CmdTokenize, NamesTheBadLine) {
  expect_bad_line("", "\"a\"\n\"b\n\"c\"\n", "line 2 of standard input");
  expect_bad_line("", "\"a\"\n\n", "line 2 of standard input");
  expect_bad_line("", "\"a\" \"b\"\n", "line 1 of standard input");
  expect_bad_line("", "{\"text\": \"a\"}\n", "line 1 of standard input: not a JSON string");
  expect_bad_line("", "\"\xff\"\n", "line 1 of standard input: not valid UTF-8");
  expect_bad_line("", "\"\\ud800\"\n", "half a surrogate pair");
  expect_bad_line("", "\"\\udc00x\"\n", "half a surrogate pair");
  expect_bad_line("", "\"\\ud800\\u0041\"\n", "half a surrogate pair");
  expect_bad_line("--decode", "[3]\n[1024]\n", "line 2 of standard input: 1024 is not an id");
  expect_bad_line("--decode", "[-1]\n", "line 1 of standard input: -1 is not an id");
  expect_bad_line("--decode", "[1.5]\n", "line 1 of standard input: an entry of the list is not an integer");
  expect_bad_line("--decode", "\"a\"\n", "line 1 of standard input: not a JSON list");
  expect_bad_line("--model /nonexistent", "\"a\"\n", "/nonexistent/tokenizer.json");
}

TEST(CmdTokenize, AnswersTheLinesBeforeTheBadOne) {
  const auto outcome = tokenize("", "\"a\"\nx\n\"b\"\n");
  EXPECT_EQ(outcome.output, ids_line(test::nano().encode("a")));
}

}  // namespace
}  // namespace hadal
