// Input that cannot be used: one sentence that names it, status 2, nothing on stdout.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/program.h"

namespace hadal {
namespace {

// Runs in an empty folder $D of its own and expects a refusal with `part` in it.
void expect_refusal(const std::string& command, const std::string& part) {
  SCOPED_TRACE(command);
  const Ran ran = run_program("D=$(mktemp -d); trap 'rm -rf \"$D\"' EXIT; cd \"$D\"; " + command);
  EXPECT_EQ(ran.status, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(ran.err.find(part), std::string::npos) << ran.err;
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
  EXPECT_TRUE(ran.err.starts_with("hadal: ")) << ran.err;
}

TEST(Refusals, NumbersOutOfRange) {
  for (const std::string option : {"-n -5", "--seed -1", "--seed 18446744073709551616", "--top-k 99999999999999999999",
                                   "--top-k -1", "--context -1", "--context 0"})
    expect_refusal("$H run -p hi " + option, "is not a whole number from");
  expect_refusal("$H eval cases f --limit -5", "--limit: '-5' is not a whole number from 0");
  for (const std::string option : {"--temp nan", "--temp inf", "--top-p nan", "--min-p -0.1"})
    expect_refusal("$H run -p hi " + option, "must be");
}

TEST(Refusals, ListsWithHolesOrWrongNumbers) {
  for (const std::string list : {"1,,2", "1,", ",1", "1,x", "1 2", "0", "-1", "99999999999999999999"})
    expect_refusal("$H logits --ids f --out o --chunks '" + list + "'", "is not a list of whole numbers from 1");
  expect_refusal("$H bench decode --depths 8192,,1", "is not a list of whole numbers from 1");
  expect_refusal("$H bench decode --depths 2000000000", "is not a list of whole numbers from 1 to 1073741824");
}

TEST(Refusals, AContextTheModelWasNotMadeFor) {
  expect_refusal("$H run -p hi --context 2000000", "more than the 1048576 tokens");
}

TEST(Refusals, AContextLongerThanMemory) {
  expect_refusal("cp '" HADAL_SOURCE_DIR
                 "'/nano/weights/* .; sed -i 's/\"max_position_embeddings\": 1048576/\"max_posit"
                 "ion_embeddings\": 1099511627776/' config.json; $H run --model . -p hi --context 1000000000000",
                 "lower --context");
}

TEST(Refusals, EmptyNames) {
  for (const std::string command :
       {"$H run -p hi --model ''", "$H run -p hi --file ''", "$H run -p hi --tools ''", "$H plan --model ''",
        "$H tokenize --model ''", "$H inspect ''", "$H logits --ids f --out ''"})
    expect_refusal(command, "the name is empty");
}

TEST(Refusals, FilesOfTheWrongKind) {
  for (const std::string option : {"--file", "--tools"}) {
    const std::string run = "$H run -p hi " + option;
    expect_refusal(run + " nothing", "nothing: no such file");
    expect_refusal(run + " /", "/: is a directory");
    expect_refusal(run + " /dev/zero", "/dev/zero: is not a regular file");
    expect_refusal("mkfifo f; " + run + " f", "f: is not a regular file");
    expect_refusal(": >f; " + run + " f", "f: is empty");
    expect_refusal("truncate -s 1G f; " + run + " f", "f: 1073741824 bytes are more than");
    expect_refusal("printf 'a\\xff' >f; " + run + " f", "f: not valid UTF-8");
  }
  expect_refusal("$H eval cases /", "/: is a directory");
  expect_refusal("mkfifo f; $H eval cases f", "f: is not a regular file");
  expect_refusal(": >f; $H eval cases f", "f: there is no case");
  expect_refusal(
      "echo '{\"id\":\"1\",\"kind\":\"a\",\"prompt\":\"p\",\"expected\":\"x\"}' >f; $H eval cases f --kind b",
      "f: no case is of kind 'b'");
}

TEST(Refusals, TextThatIsNotUtf8) {
  expect_refusal("$H run -p $'a\\xff'", "--prompt: not valid UTF-8");
  expect_refusal("$H run --raw -p $'a\\xff'", "--prompt: not valid UTF-8");
  expect_refusal("$H run -p a --system $'a\\xff'", "--system: not valid UTF-8");
  expect_refusal("printf 'a\\xff\\n' | $H run", "the message: not valid UTF-8");
}

TEST(Refusals, ToolsThatCannotBeCalled) {
  expect_refusal("echo '[{\"name\": \"a\"}, {\"description\": \"b\"}]' >f; $H run -p hi --tools f",
                 "f: tool 2 has no \"name\"");
  expect_refusal("echo '[{\"name\": 3}]' >f; $H run -p hi --tools f", "f: tool 1 has no \"name\"");
  expect_refusal("echo '[{\"name\": \"a\"}] [' >f; $H run -p hi --tools f", "f is not a JSON list");
}

TEST(Refusals, OptionsThatRawWouldIgnore) {
  for (const std::string option : {"--system x", "--think high", "--format 0731"})
    expect_refusal("$H run --raw -p hi " + option, "--raw uses no chat template");
}

TEST(Refusals, LogitsWritesFilesOnly) {
  const std::string ids = "echo '[1, 2]' >ids; $H logits --ids ids --out ";
  // A finished file was once renamed onto whatever had the name; for root that replaced devices. A pipe stands for
  // them.
  expect_refusal("mkfifo f; " + ids + "f", "f: is a folder, device or pipe");
  expect_refusal(ids + "/", "/: is a folder, device or pipe");
  expect_refusal(ids + "none/out", "none: there is no folder");
}

TEST(Refusals, ADirectoryThatMayNotBeRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  expect_refusal("mkdir m; chmod 0 m; $H run -p hi --model m", "m: Permission denied");
}

TEST(Refusals, UnknownOptionsBeforeACommand) {
  expect_refusal("$H --versoin", "did you mean '--version'?");
  expect_refusal("$H chat --lenient", "'hadal chat' has no option '--lenient'");
}

TEST(Refusals, InspectLooksAtTheTokenizerToo) {
  const std::string copy = "D=$(mktemp -d); trap 'rm -rf \"$D\"' EXIT; cp '" HADAL_SOURCE_DIR "'/nano/weights/* $D; ";
  const Ran missing = run_program(copy + "rm $D/tokenizer.json; $H inspect $D");
  EXPECT_EQ(missing.status, 0);
  EXPECT_NE(missing.out.find("by token ids only"), std::string::npos) << missing.out;
  const Ran damaged = run_program(copy + "echo '{}' >$D/tokenizer.json; $H inspect $D --json");
  EXPECT_EQ(damaged.status, 2);
  EXPECT_NE(damaged.out.find("\"runs\": false"), std::string::npos) << damaged.out.substr(0, 400);
  EXPECT_EQ(run_program(copy + "$H inspect $D").status, 0);
}

TEST(Refusals, TextOfFilesCannotPaintTheTerminal) {
  expect_refusal("cp '" HADAL_SOURCE_DIR
                 "'/nano/weights/* .; sed -i 's/\"deepseek_v4\"/\"a\\\\u001b[31m\\\\nb\"/' config.json; "
                 "$H run --model . -p hi",
                 "model_type 'a?[31m?b' is not supported");
}

}  // namespace
}  // namespace hadal
