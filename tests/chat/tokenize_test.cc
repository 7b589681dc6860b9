#include "chat/tokenize.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "chat/message_json.h"
#include "chat/templates.h"

namespace hadal::chat {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(PromptTokens, TemplateMarkersAreTokensAndQuotedOnesAreNot) {
  auto tokenizer = Tokenizer::load(std::string(HADAL_SOURCE_DIR) + "/nano/weights/tokenizer.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().what;
  Message user;
  user.content = "say </think>";
  auto rendered = render(std::vector{user}, {.mode = ThinkingMode::kChat});
  ASSERT_TRUE(rendered);
  auto ids = prompt_tokens(**tokenizer, *rendered);
  ASSERT_TRUE(ids) << ids.error().what;
  auto close = (*tokenizer)->find_added(text::kThinkClose);
  ASSERT_TRUE(close);
  EXPECT_EQ(std::count(ids->begin(), ids->end(), *close), 1);
  EXPECT_EQ(ids->back(), *close);
  std::string bytes;
  ASSERT_TRUE((*tokenizer)->decode_bytes(*ids, bytes));
  EXPECT_EQ(bytes, rendered->text);
}

// The published prompts: their ids, from the release's tokenizer, are those of our segments as well as of the whole
// text.
TEST(PromptTokens, GoldenPromptsHaveTheirGoldenIds) {
  const char* folder = std::getenv("HADAL_GOLDEN");
  if (!folder) GTEST_SKIP() << "HADAL_GOLDEN is not set: the release's tokenizer.json is needed";
  auto tokenizer = Tokenizer::load(std::string(folder) + "/tokenizer/tokenizer.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().what;
  std::string golden_text = read_file(std::string(folder) + "/tokenizer/chat-prompts.json");
  JsonValue golden = parse_json(golden_text).value();
  std::map<std::string, const JsonValue*> expected;
  for (const JsonValue& entry : golden.find("cases")->items) expected[entry.find("case")->text] = &entry;

  int compared = 0;
  for (const char* name : {"agent-transcripts", "chat-mode", "context", "developer-misc", "response-format", "tasks",
                           "thinking", "tools"}) {
    std::string source = read_file(std::string(HADAL_SOURCE_DIR) + "/tests/golden/chat/" + name + ".json");
    JsonValue document = parse_json(source).value();
    for (const JsonValue& example : document.find("cases")->items) {
      const std::string& id = example.find("id")->text;
      auto entry = expected.find(id);
      if (entry == expected.end() || example.find("context")) continue;
      SCOPED_TRACE(id);
      const JsonValue& given = *example.find("options");
      RenderOptions options;
      options.generation = parse_generation(example.find("encoder")->text).value();
      options.mode = parse_thinking_mode(given.find("thinking_mode")->text).value();
      if (const JsonValue* effort = given.find("reasoning_effort"); !effort->text.empty()) {
        options.effort = parse_effort(options.generation, effort->text).value();
      }
      options.drop_thinking = given.find("drop_thinking")->is(JsonValue::Kind::kTrue);
      options.add_bos = given.find("add_default_bos_token")->is(JsonValue::Kind::kTrue);
      auto rendered = render(messages_from_json(*example.find("messages"), source).value(), options);
      ASSERT_TRUE(rendered);
      auto ids = prompt_tokens(**tokenizer, *rendered).value();
      auto whole = (*tokenizer)->encode(rendered->text);
      EXPECT_EQ(std::to_string(whole.size()), entry->second->find("n")->text);
      // A conversation that quotes a marker has it as characters here, as a token in the reference.
      bool quotes = false;
      for (const Segment& segment : rendered->segments) {
        std::string text = rendered->text.substr(segment.begin, segment.end - segment.begin);
        quotes = quotes || (segment.kind == SegmentKind::kPlain &&
                            (text.find("｜") != std::string::npos || text.find("think>") != std::string::npos));
      }
      if (quotes) {
        EXPECT_NE(ids, whole);
        continue;
      }
      EXPECT_EQ(ids, whole);
      ++compared;
      if (const JsonValue* list = entry->second->find("ids")) {
        std::vector<std::string> spelled, listed;
        for (TokenId token : ids) spelled.push_back(std::to_string(to_int(token)));
        for (const JsonValue& token : list->items) listed.push_back(token.text);
        EXPECT_EQ(spelled, listed);
      }
    }
  }
  EXPECT_GT(compared, 80);
}

}  // namespace
}  // namespace hadal::chat
