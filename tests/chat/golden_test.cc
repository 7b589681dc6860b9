// The reference's own answers: every conversation of the golden files rendered, every completion parsed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "chat/codec.h"
#include "chat/errors.h"
#include "chat/lenient_parser.h"
#include "chat/message_json.h"

namespace hadal::chat {
namespace {

using Kind = JsonValue::Kind;

struct GoldenFile {
  std::string source;  // the cases' raw JSON is cut from it
  JsonValue document;
  const std::vector<JsonValue>& cases() const { return document.find("cases")->items; }
};

GoldenFile load(const std::string& name) {
  std::ifstream file(std::string(HADAL_SOURCE_DIR) + "/tests/golden/chat/" + name + ".json");
  GoldenFile golden;
  golden.source.assign(std::istreambuf_iterator<char>(file), {});
  auto document = parse_json(golden.source);
  EXPECT_TRUE(document) << name;
  golden.document = std::move(*document);
  return golden;
}

std::string text_at(const JsonValue& value, std::string_view key) {
  const JsonValue* found = value.find(key);
  return found && found->is(Kind::kString) ? found->text : "";
}

Result<std::string> render_case(const JsonValue& example, std::string_view source) {
  const JsonValue& given = *example.find("options");
  RenderOptions options;
  options.generation = HADAL_TRY(parse_generation(text_at(example, "encoder")));
  options.mode = HADAL_TRY(parse_thinking_mode(text_at(given, "thinking_mode")));
  if (std::string effort = text_at(given, "reasoning_effort"); !effort.empty()) {
    options.effort = HADAL_TRY(parse_effort(options.generation, effort));
  }
  options.drop_thinking = given.find("drop_thinking")->is(Kind::kTrue);
  options.add_bos = given.find("add_default_bos_token")->is(Kind::kTrue);
  std::vector<Message> context;
  if (const JsonValue* list = example.find("context")) context = HADAL_TRY(messages_from_json(*list, source));
  std::vector<Message> messages = HADAL_TRY(messages_from_json(*example.find("messages"), source));
  Rendered rendered = HADAL_TRY(render(messages, options, context));

  // Whatever the conversation, the segments cover the prompt without gaps.
  std::size_t at = 0;
  for (const Segment& segment : rendered.segments) {
    EXPECT_EQ(segment.begin, at);
    EXPECT_LT(segment.begin, segment.end);
    at = segment.end;
  }
  EXPECT_EQ(at, rendered.text.size());
  return rendered.text;
}

void expect_error(const Error& error, const std::string& expected) {
  EXPECT_NE(error_name(error), "") << error.what;
  if (!expected.starts_with("type_error")) {
    EXPECT_EQ(error_name(error), expected) << error.what;
  }
}

class EncodeGolden : public testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(EncodeGolden, MatchesReference) {
  auto [name, count] = GetParam();
  GoldenFile golden = load(name);
  ASSERT_EQ(golden.cases().size(), static_cast<std::size_t>(count));
  for (const JsonValue& example : golden.cases()) {
    SCOPED_TRACE(text_at(example, "id"));
    Result<std::string> prompt = render_case(example, golden.source);
    if (text_at(example, "encoder") == "v4.1") {
      ASSERT_FALSE(prompt);
      EXPECT_EQ(error_name(prompt.error()), "unsupported_encoder");
    } else if (example.find("error")) {
      ASSERT_FALSE(prompt) << *prompt;
      expect_error(prompt.error(), text_at(example, "error"));
    } else {
      ASSERT_TRUE(prompt) << prompt.error().what;
      EXPECT_EQ(*prompt, text_at(example, "prompt"));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, EncodeGolden,
                         testing::Values(std::pair{"agent-transcripts", 5}, std::pair{"chat-mode", 19},
                                         std::pair{"context", 5}, std::pair{"developer-misc", 7},
                                         std::pair{"response-format", 3}, std::pair{"tasks", 12},
                                         std::pair{"thinking", 20}, std::pair{"tools", 35}, std::pair{"v41-encode", 8}),
                         [](const auto& file) {
                           std::string name = file.param.first;
                           std::erase(name, '-');
                           return name;
                         });

TEST(StrictGolden, MatchesReference) {
  GoldenFile golden = load("parse");
  ASSERT_EQ(golden.cases().size(), 54u);
  for (const JsonValue& example : golden.cases()) {
    if (text_at(example, "encoder") == "v4.1") continue;  // refused before there is anything to parse
    SCOPED_TRACE(text_at(example, "id"));
    auto mode = parse_thinking_mode(text_at(*example.find("options"), "thinking_mode"));
    ASSERT_TRUE(mode);
    Result<Message> message = parse_strict(text_at(example, "completion"), *mode);
    if (example.find("error")) {
      ASSERT_FALSE(message);
      expect_error(message.error(), text_at(example, "error"));
    } else {
      ASSERT_TRUE(message) << message.error().what;
      EXPECT_EQ(assistant_json(*message), python_json(*example.find("message")));
    }
  }
}

// All 40 advisory cases agree: with its recommended policies off the parser is the published machine.
TEST(LenientGolden, MatchesPublishedMachine) {
  GoldenFile golden = load("lenient-parse");
  ASSERT_EQ(golden.cases().size(), 40u);
  for (const JsonValue& example : golden.cases()) {
    SCOPED_TRACE(text_at(example, "id"));
    LenientOptions options;
    options.thinking = example.find("thinking")->is(Kind::kTrue);
    LenientParser parser(options);
    ParsedTurn turn;
    turn.add(parser.push(text_at(example, "completion")));
    turn.add(parser.finish());
    const JsonValue& expect = *example.find("expect");
    EXPECT_EQ(turn.reasoning, text_at(expect, "reasoning"));
    EXPECT_EQ(turn.content, text_at(expect, "content"));
    EXPECT_EQ(parser.state_name(), text_at(expect, "ended_in"));
    std::vector<std::string> ignored;
    for (const JsonValue& reason : expect.find("ignored")->items) ignored.push_back(reason.text);
    EXPECT_EQ(turn.ignored, ignored);
    const std::vector<JsonValue>& calls = expect.find("tool_calls")->items;
    ASSERT_EQ(turn.calls.size(), calls.size());
    for (std::size_t i = 0; i < calls.size(); ++i) {
      EXPECT_EQ(turn.calls[i].name, text_at(calls[i], "name"));
      EXPECT_EQ(turn.calls[i].arguments, text_at(calls[i], "arguments"));
      EXPECT_EQ(parse_json(turn.calls[i].arguments).has_value(), calls[i].find("valid_json")->is(Kind::kTrue));
    }
  }
}

}  // namespace
}  // namespace hadal::chat
