// `hadal chat encode` and `hadal chat decode` as a program at the other end of a pipe sees them.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status;
  std::string out, err;
};

std::string read_file(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ChatCommand : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(HADAL_PROGRAM)) GTEST_SKIP() << HADAL_PROGRAM << " is not built";
    folder_ = fs::path(testing::TempDir()) / ("chat_command_" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Outcome run(const std::string& arguments, const std::string& input) {
    std::ofstream(folder_ / "in") << input;
    std::string command = std::string(HADAL_PROGRAM) + " chat " + arguments + " <" + (folder_ / "in").string() + " >" +
                          (folder_ / "out").string() + " 2>" + (folder_ / "err").string();
    int status = std::system(command.c_str());
    return {WEXITSTATUS(status), read_file(folder_ / "out"), read_file(folder_ / "err")};
  }

  fs::path folder_;
};

TEST_F(ChatCommand, OptionsThatAreNoObjectAreRefused) {
  Outcome result = run("encode", R"({"options": 5, "messages": []})"
                                 "\n");
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("line 1: 'options' must be an object"), std::string::npos) << result.err;
  result = run("decode --lenient", R"({"options": [], "completion": "x"})"
                                   "\n");
  EXPECT_EQ(result.status, 2);
  result = run("decode --lenient", R"({"options": null, "completion": "x"})"
                                   "\n");
  EXPECT_EQ(result.status, 0);
}

TEST_F(ChatCommand, LenientDecodingKnowsItsEncoders) {
  EXPECT_EQ(run("decode --lenient", R"({"encoder": "v4.1", "completion": "x"})"
                                    "\n")
                .out,
            "{\"error\": \"unsupported_encoder\"}\n");
}

TEST_F(ChatCommand, EncodesLineByLine) {
  Outcome result = run(
      "encode",
      R"({"encoder": "v4-preview", "options": {"thinking_mode": "chat"}, "messages": [{"role": "user", "content": "a\nb"}]})"
      "\n\n"
      R"({"encoder": "v4.1", "options": {"thinking_mode": "chat"}, "messages": []})"
      "\n"
      R"({"messages": [{"role": "user", "content": 5}]})"
      "\n");
  EXPECT_EQ(result.out,
            "{\"prompt\": \"<｜begin▁of▁sentence｜><｜User｜>a\\nb<｜Assistant｜></think>\"}\n"
            "{\"error\": \"unsupported_encoder\"}\n"
            "{\"error\": \"type_error\"}\n");
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.status, 0);
}

TEST_F(ChatCommand, DecodesStrictly) {
  Outcome result =
      run("decode",
          "{\"options\": {\"thinking_mode\": \"thinking\"}, \"completion\": \"r</think>a<｜end▁of▁sentence｜>\"}\n"
          "{\"options\": {\"thinking_mode\": \"thinking\"}, \"completion\": \"r\"}\n");
  EXPECT_EQ(
      result.out,
      "{\"message\": {\"role\": \"assistant\", \"content\": \"a\", \"reasoning_content\": \"r\", \"tool_calls\": []}}\n"
      "{\"error\": \"missing_think_end\"}\n");
  EXPECT_EQ(result.status, 0);
}

TEST_F(ChatCommand, DecodesLeniently) {
  Outcome result = run("decode --lenient", "{\"thinking\": true, \"completion\": \"r</think>a</think>\"}\n");
  EXPECT_EQ(result.out,
            "{\"reasoning\": \"r\", \"content\": \"a\", \"tool_calls\": [], \"ended_in\": \"content\", \"ignored\": "
            "[\"extra_end_of_thinking\"]}\n");
  EXPECT_EQ(result.status, 0);
}

TEST_F(ChatCommand, MalformedLinesAreNamedByNumber) {
  for (const char* line : {"{", "[]", "{\"completion\": 5}", "{}", "{\"completion\": \"\", \"thinking\": \"yes\"}"}) {
    Outcome result = run("decode", "{\"completion\": \"<｜end▁of▁sentence｜>\"}\n" + std::string(line) + "\n");
    EXPECT_EQ(result.status, 2) << line;
    EXPECT_NE(result.err.find("line 2"), std::string::npos) << line << ": " << result.err;
    EXPECT_NE(result.out.find("message"), std::string::npos);  // the line before was answered
  }
  EXPECT_EQ(run("encode", "{\"messages\": 1}\n").status, 0);  // a conversation error, not a broken line
  EXPECT_EQ(run("encode", "{}\n").status, 2);
}

}  // namespace
