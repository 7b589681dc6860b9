// A client that retells the past is given prompts that hold the past as it was.
#include "chat/replay.h"

#include <gtest/gtest.h>

#include <map>

#include "chat/lenient_parser.h"
#include "chat/templates.h"
#include "files/mapped_file.h"

namespace hadal::chat {
namespace {

std::shared_ptr<const Tokenizer> nano_tokenizer() {
  static const auto tokenizer = Tokenizer::load(std::string(HADAL_SOURCE_DIR) + "/nano/weights/tokenizer.json").value();
  return tokenizer;
}

class Memory final : public TurnLookup {
 public:
  std::optional<std::vector<TokenId>> find(const TurnKey& key) const override {
    const auto found = turns.find(key);
    return found == turns.end() ? std::nullopt : std::optional(found->second);
  }
  std::map<TurnKey, std::vector<TokenId>> turns;
};

Message text(Role role, std::string content) {
  Message m;
  m.role = role;
  m.content = std::move(content);
  return m;
}

// Ids no tokeniser would give for the text: one per byte, except markers. A model may write so.
std::vector<TokenId> odd_ids(std::string_view text) {
  const Tokenizer& t = *nano_tokenizer();
  std::vector<TokenId> ids;
  while (!text.empty()) {
    bool marker = false;
    for (std::string_view m : {text::kThinkClose, text::kDsml, text::kEos}) {
      if (!text.starts_with(m)) continue;
      ids.push_back(*t.find_added(m));
      text.remove_prefix(m.size());
      marker = true;
      break;
    }
    if (marker) continue;
    t.encode_literal(text.substr(0, 1), ids);
    text.remove_prefix(1);
  }
  return ids;
}

std::string tool_json() {
  return R"({"name": "step", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}, "note": {"type": "string"}, "ratio": {"type": "number"}}}})";
}

// What a server does with the ids of an answer: the message a client is shown, and the turn that is remembered.
Message answer(Memory& memory, const std::vector<Message>& before, const std::vector<TokenId>& prompt,
               const std::string& completion, std::vector<TokenId>* ids, int round) {
  const ToolTypes tools = ToolTypes::read(std::vector<ToolSchema>{{tool_json()}}).value();
  LenientParser parser(serving_options(tools, prompt.back() == *nano_tokenizer()->find_added(text::kThinkOpen)));
  ParsedTurn turn;
  turn.add(parser.push(completion.substr(0, completion.size() - text::kEos.size())));
  turn.add(parser.finish());
  Message message = turn.message();
  for (std::size_t i = 0; i < message.tool_calls.size(); ++i)
    message.tool_calls[i].id = "call_" + std::to_string(round) + "_" + std::to_string(i);
  *ids = odd_ids(completion);
  std::vector<TokenId> remembered{prompt.back()};
  remembered.insert(remembered.end(), ids->begin(), ids->end());
  for (const TurnKey& key : turn_keys(before, message)) memory.turns[key] = remembered;
  return message;
}

std::vector<TokenId> joined(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
bool begins_with(const std::vector<TokenId>& whole, const std::vector<TokenId>& start) {
  return whole.size() > start.size() && std::equal(start.begin(), start.end(), whole.begin());
}

constexpr std::string_view kCall =
    "</think>Looking.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"step\">\n<｜DSML｜parameter name=\"n\" "
    "string=\"false\">{}</｜DSML｜parameter>\n<｜DSML｜parameter name=\"note\" string=\"true\">a \"b\" \n "
    "é</｜DSML｜parameter>\n"
    "<｜DSML｜parameter name=\"ratio\" "
    "string=\"false\">1.50</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

// Fifty rounds with a client that parses and rewrites everything: keys in another order, numbers and characters spelled
// in another way, reasoning gone, a blank here and there.
TEST(Replay, FiftyRoundsOfAClientThatRetellsExtendThePromptExactly) {
  Memory memory;
  RenderOptions options;
  std::vector<Message> history{text(Role::kSystem, "You work in steps."), text(Role::kUser, "Begin.")};
  history[0].tools.push_back({tool_json()});
  std::vector<TokenId> past;
  for (int round = 0; round < 50; ++round) {
    const Replayed prompt = replay(*nano_tokenizer(), history, options, &memory).value();
    if (round > 0) {
      ASSERT_TRUE(begins_with(prompt.ids, past)) << "round " << round;
      EXPECT_EQ(prompt.remembered, round);
      EXPECT_EQ(prompt.rendered, 0);
    }
    EXPECT_TRUE(prompt.thinking);
    EXPECT_TRUE(std::ranges::is_sorted(prompt.borders));
    std::vector<TokenId> ids;
    const std::string completion =
        fmt::format("I think of {}.\n", round) + fmt::format(fmt::runtime(kCall), round) + std::string(text::kEos);
    Message shown = answer(memory, history, prompt.ids, completion, &ids, round);
    ASSERT_EQ(shown.tool_calls.size(), 1u);
    past = joined(prompt.ids, ids);

    shown.reasoning_content.clear();
    shown.content = " " + *shown.content + "\n";
    shown.tool_calls[0].arguments =
        fmt::format(R"({{ "ratio":15e-1,"note":"a \u0022b\u0022 \n \u00e9",  "n":{}.0 }})", round);
    history.push_back(std::move(shown));
    Message result = text(Role::kTool, "done " + std::to_string(round));
    result.tool_call_id = "call_" + std::to_string(round) + "_0";
    history.push_back(std::move(result));
    if (round % 10 == 9)
      history.push_back(text(Role::kUser, "Go on."));  // reasoning stays across it: tools are declared
  }
}

TEST(Replay, WithoutToolsOldReasoningGoesAndTheRestStaysAsSampled) {
  Memory memory;
  RenderOptions options;
  std::vector<Message> history{text(Role::kUser, "Hello.")};
  const Replayed first = replay(*nano_tokenizer(), history, options, &memory).value();
  std::vector<TokenId> ids;
  history.push_back(answer(memory, history, first.ids, "Hm.</think>Hello there." + std::string(text::kEos), &ids, 0));
  history.push_back(text(Role::kUser, "Again."));
  const Replayed second = replay(*nano_tokenizer(), history, options, &memory).value();
  EXPECT_EQ(second.remembered, 1);
  // The prompt up to the assistant's header is what both share, and that is a border.
  const auto header = static_cast<Position>(first.ids.size()) - 1;
  EXPECT_TRUE(std::equal(first.ids.begin(), first.ids.begin() + header, second.ids.begin()));
  EXPECT_NE(std::ranges::find(second.borders, header), second.borders.end());
  const std::vector<TokenId> dropped = odd_ids("</think>Hello there." + std::string(text::kEos));
  EXPECT_TRUE(std::equal(dropped.begin(), dropped.end(), second.ids.begin() + header));
}

TEST(Replay, AnEditedTurnIsRenderedAsTheClientSentIt) {
  Memory memory;
  std::vector<Message> history{text(Role::kUser, "Hello.")};
  const Replayed first = replay(*nano_tokenizer(), history, {}, &memory).value();
  std::vector<TokenId> ids;
  history.push_back(answer(memory, history, first.ids, "Hm.</think>Hello there." + std::string(text::kEos), &ids, 0));
  history.push_back(text(Role::kUser, "Again."));
  auto edited = history;
  edited[1].content = "Goodbye.";
  EXPECT_EQ(replay(*nano_tokenizer(), edited, {}, &memory)->rendered, 1);
  edited = history;
  edited[0].content = "Another question.";  // the same words elsewhere are another turn
  EXPECT_EQ(replay(*nano_tokenizer(), edited, {}, &memory)->remembered, 0);
}

TEST(Replay, ACallsIdFindsTheTurnAfterTheHistoryBeforeItChanged) {
  Memory memory;
  std::vector<Message> history{text(Role::kSystem, "Old."), text(Role::kUser, "Begin.")};
  history[0].tools.push_back({tool_json()});
  const Replayed first = replay(*nano_tokenizer(), history, {}, &memory).value();
  std::vector<TokenId> ids;
  history.push_back(
      answer(memory, history, first.ids, "r" + fmt::format(fmt::runtime(kCall), 1) + std::string(text::kEos), &ids, 0));
  Message result = text(Role::kTool, "done");
  result.tool_call_id = "call_0_0";
  history.push_back(result);
  history[0].content = "New.";
  EXPECT_EQ(replay(*nano_tokenizer(), history, {}, &memory)->remembered, 1);
  history[2].tool_calls[0].arguments = R"({"n": 2})";  // but not when the client changed the call
  EXPECT_EQ(replay(*nano_tokenizer(), history, {}, &memory)->remembered, 0);
}

TEST(Replay, ATurnCutOffIsClosedAsRenderingClosesIt) {
  Memory memory;
  std::vector<Message> history{text(Role::kUser, "Hello.")};
  history.push_back(text(Role::kAssistant, "Hello th"));
  history.push_back(text(Role::kUser, "Go on."));
  const std::vector<Message> before(history.begin(), history.begin() + 1);
  RenderOptions options;
  options.mode = ThinkingMode::kChat;
  std::vector<TokenId> turn = joined({*nano_tokenizer()->find_added(text::kThinkClose)}, odd_ids("Hello th"));
  for (const TurnKey& key : turn_keys(before, history[1])) memory.turns[key] = turn;
  const Replayed prompt = replay(*nano_tokenizer(), history, options, &memory).value();
  EXPECT_EQ(prompt.remembered, 1);
  EXPECT_EQ(nano_tokenizer()->decode(prompt.ids).value(), prompt.text);
}

TEST(Replay, WithoutMemoryItIsRenderingAndTokenising) {
  std::vector<Message> history{text(Role::kSystem, "S"), text(Role::kUser, "<think>Hello."),
                               text(Role::kAssistant, "a"), text(Role::kUser, "b")};
  for (ThinkingMode mode : {ThinkingMode::kChat, ThinkingMode::kThinking}) {
    RenderOptions options;
    options.mode = mode;
    const Replayed prompt = replay(*nano_tokenizer(), history, options, nullptr).value();
    const Rendered rendered = render(history, options).value();
    EXPECT_EQ(prompt.text, rendered.text);
    EXPECT_EQ(nano_tokenizer()->decode(prompt.ids).value(), rendered.text);
    EXPECT_EQ(prompt.thinking, mode == ThinkingMode::kThinking);
    // What a user spelled stays characters.
    EXPECT_EQ(std::ranges::count(prompt.ids, *nano_tokenizer()->find_added(text::kThinkOpen)),
              mode == ThinkingMode::kThinking ? 1 : 0);
  }
}

}  // namespace
}  // namespace hadal::chat
