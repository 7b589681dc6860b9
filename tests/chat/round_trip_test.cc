// What is rendered can be read back: random turns through render, both parsers, and every way to cut the stream.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "chat/codec.h"
#include "chat/support.h"
#include "chat/templates.h"

namespace hadal::chat {
namespace {

class RandomTurn {
 public:
  explicit RandomTurn(unsigned seed) : random_(seed) {}

  Message assistant() {
    Message message;
    message.role = Role::kAssistant;
    message.reasoning_content = text();
    message.content = text();
    for (unsigned n = pick(3); n > 0; --n)
      message.tool_calls.push_back({"", "tool_" + std::to_string(pick(9)), arguments()});
    return message;
  }

 private:
  unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
  // Anything but markers; newlines and near-markers abound.
  std::string text() {
    static const std::vector<std::string> kPieces = {"word",
                                                     " ",
                                                     "\n",
                                                     "\n\n",
                                                     "é",
                                                     "漢字",
                                                     "🙂",
                                                     "<",
                                                     "</",
                                                     "<|DSML|",
                                                     "{\"a\"",
                                                     "\"",
                                                     "\\",
                                                     "</thin",
                                                     "<｜DSM",
                                                     "\t",
                                                     "string=\"true\">",
                                                     "invoke name=\"x\""};
    std::string out;
    for (unsigned n = pick(8); n > 0; --n) out += kPieces[pick(kPieces.size())];
    return out;
  }
  std::string arguments() {
    static const std::vector<std::string> kValues = {
        "1", "-2.5e10", "true", "null", "[1,{\"k\":[]}]", "{\"b\":\"c\",\"a\":1}", "12345678901234567890"};
    std::string out = "{";
    for (unsigned i = 0, n = pick(4); i < n; ++i) {
      out += (i ? "," : "") + json_string("key" + std::to_string(i)) + ":";
      out += pick(2) ? json_string(text()) : kValues[pick(kValues.size())];
    }
    return out + "}";
  }

  std::mt19937 random_;
};

// What the model would have to sample to say this: the assistant's part of the prompt, without its header.
std::string completion_of(const Message& message, ThinkingMode mode) {
  Message question;
  question.content = "q";
  RenderOptions options;
  options.mode = mode;
  std::string before = render(std::vector{question}, options).value().text;
  std::string whole = render(std::vector{question, message}, options).value().text;
  EXPECT_TRUE(whole.starts_with(before));
  return whole.substr(before.size());
}

std::string strip(std::string text, bool leading, bool trailing) {
  if (leading) text.erase(0, std::min(text.find_first_not_of('\n'), text.size()));
  while (trailing && text.ends_with('\n')) text.pop_back();
  return text;
}

TEST(RoundTrip, StrictParsingGivesTheTurnBack) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    for (ThinkingMode mode : {ThinkingMode::kThinking, ThinkingMode::kChat}) {
      Message message = RandomTurn(seed).assistant();
      auto parsed = parse_strict(completion_of(message, mode), mode);
      ASSERT_TRUE(parsed) << parsed.error().what;
      EXPECT_EQ(parsed->reasoning_content, mode == ThinkingMode::kThinking ? message.reasoning_content : "");
      EXPECT_EQ(parsed->content, message.content);
      ASSERT_EQ(parsed->tool_calls.size(), message.tool_calls.size());
      for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
        EXPECT_EQ(parsed->tool_calls[i].name, message.tool_calls[i].name);
        EXPECT_EQ(parsed->tool_calls[i].arguments, respell_json(message.tool_calls[i].arguments).value());
      }
    }
  }
}

// Lenient parsing gives it back too, but for the newlines around markers.
TEST(RoundTrip, LenientParsingGivesTheTurnBackHoweverItIsCut) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    Message message = RandomTurn(seed).assistant();
    std::string completion = completion_of(message, ThinkingMode::kThinking);
    completion.resize(completion.size() - text::kEos.size());
    for (bool serving : {false, true}) {
      std::vector<ToolSchema> schemas = {{R"({"name": "tool_1"})"}};
      ToolTypes tools = ToolTypes::read(schemas).value();
      LenientOptions options = serving ? serving_options(tools, true) : LenientOptions{};
      options.thinking = true;

      auto events = parse_pieces(options, {completion});
      ParsedTurn turn;
      turn.add(events);
      bool calls = !message.tool_calls.empty();
      EXPECT_EQ(turn.reasoning, strip(message.reasoning_content, true, true));
      EXPECT_EQ(turn.content, strip(message.content.value(), true, calls));
      EXPECT_TRUE(turn.ignored.empty());
      Message parsed = turn.message();
      ASSERT_EQ(parsed.tool_calls.size(), message.tool_calls.size()) << completion;
      for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
        EXPECT_EQ(parsed.tool_calls[i].name, message.tool_calls[i].name);
        EXPECT_EQ(parsed.tool_calls[i].arguments, respell_json(message.tool_calls[i].arguments).value());
      }

      auto expected = canonical(events);
      ASSERT_EQ(canonical(parse_pieces(options, byte_by_byte(completion))), expected) << completion;
      for (std::size_t cut = 0; cut <= completion.size(); ++cut) {
        std::string_view all = completion;
        ASSERT_EQ(canonical(parse_pieces(options, {all.substr(0, cut), all.substr(cut)})), expected)
            << cut << completion;
      }
    }
  }
}

}  // namespace
}  // namespace hadal::chat
