// Answers that broke other servers, one row each: what users are served, whole and streamed with a cut at every byte.
// Source: chat-format specification 11, failure catalogue.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "chat/codec.h"
#include "chat/errors.h"
#include "chat/lenient_parser.h"
#include "chat/support.h"

namespace hadal::chat {
namespace {

const std::string kOpen = "<｜DSML｜tool_calls>\n", kClose = "\n</｜DSML｜tool_calls>";

std::string parameter(const std::string& name, const std::string& value, bool string = true) {
  return "<｜DSML｜parameter name=\"" + name + "\" string=\"" + (string ? "true" : "false") + "\">" + value +
         "</｜DSML｜parameter>\n";
}
std::string invoke(const std::string& body) { return "<｜DSML｜invoke name=\"look\">\n" + body + "</｜DSML｜invoke>"; }

struct Row {
  std::string symptom;
  bool thinking;
  std::string completion;
  std::string reasoning, content;
  std::vector<std::string> arguments;  // of calls that closed
};
std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.symptom; }

const std::vector<Row>& rows() {
  static const std::string paris = parameter("place", "Paris");
  static const std::string call = "{\"place\": \"Paris\"}";
  static const std::vector<Row> kRows = {
      {"raw markup in the answer", false, "I look." + ("\n\n" + kOpen) + invoke(paris) + kClose, "", "I look.", {call}},
      {"raw markup behind reasoning", true, "Hm.</think>\n\n" + kOpen + invoke(paris) + kClose, "Hm.", "", {call}},
      {"opener missing: a bare call", false, "I look.\n\n" + invoke(paris), "", "I look.", {call}},
      {"opener missing, closer there", false, invoke(paris) + kClose, "", "", {call}},
      {"empty block", false, "Before" + kOpen + "</｜DSML｜tool_calls>after", "", "Beforeafter", {}},
      {"stray closer of a block", false, "Before</｜DSML｜tool_calls>after", "", "Beforeafter", {}},
      {"stray closer of a call", false, "Before</｜DSML｜invoke>after", "", "Beforeafter", {}},
      {"stray closer of a parameter", false, "Before</｜DSML｜parameter>after", "", "Beforeafter", {}},
      {"number sent as text", false, kOpen + invoke(parameter("count", "3")) + kClose, "", "", {"{\"count\": 3}"}},
      {"boolean sent as text", false, kOpen + invoke(parameter("deep", "true")) + kClose, "", "", {"{\"deep\": true}"}},
      {"Python's boolean",
       false,
       kOpen + invoke(parameter("deep", "True", false)) + kClose,
       "",
       "",
       {"{\"deep\": true}"}},
      {"text that looks like a number stays text",
       false,
       kOpen + invoke(parameter("place", "12")) + kClose,
       "",
       "",
       {"{\"place\": \"12\"}"}},
      {"wrapper key 'arguments'",
       false,
       kOpen + invoke(parameter("arguments", "{\"place\": \"Paris\"}", false)) + kClose,
       "",
       "",
       {call}},
      {"wrapper key 'input'",
       false,
       kOpen + invoke(parameter("input", "{\"place\": \"Paris\"}", false)) + kClose,
       "",
       "",
       {call}},
      {"JSON body instead of parameters", false, kOpen + invoke("{\"place\": \"Paris\"}\n") + kClose, "", "", {call}},
      {"self-closing call", false, kOpen + "<｜DSML｜invoke name=\"look\"/>" + kClose, "", "", {"{}"}},
      {"call inside the reasoning",
       true,
       "I shall look.\n" + kOpen + invoke(paris) + kClose,
       "I shall look.",
       "",
       {call}},
      {"only reasoning", true, "I wonder.", "I wonder.", "", {}},
      {"call cut off",
       false,
       kOpen + "<｜DSML｜invoke name=\"look\">\n<｜DSML｜parameter name=\"place\" string=\"true\">Par",
       "",
       "",
       {}},
      {"leading newlines", false, "\n\nHello", "", "Hello", {}},
      {"leading newlines behind reasoning", true, "Hm.\n</think>\n\nHello", "Hm.", "Hello", {}},
      {"end of thinking shown", false, "He</think>llo", "", "Hello", {}},
      {"a second end of thinking", true, "Hm.</think>\n\nHe</think>llo", "Hm.", "Hello", {}},
      {"the marker is only mentioned",
       false,
       "Calls begin with <｜DSML｜tool_calls> in this format.",
       "",
       "Calls begin with <｜DSML｜tool_calls> in this format.",
       {}},
  };
  return kRows;
}

class FailureCatalogue : public testing::TestWithParam<Row> {};

TEST_P(FailureCatalogue, IsServedRightHoweverItIsCut) {
  const Row& row = GetParam();
  const ToolSchema schema{
      R"({"name": "look", "parameters": {"type": "object", "properties": {"place": {"type": "string"}, )"
      R"("count": {"type": "integer"}, "deep": {"type": "boolean"}}}})"};
  const auto tools = ToolTypes::read({&schema, 1});
  ASSERT_TRUE(tools.has_value()) << tools.error().what;
  const LenientOptions options = serving_options(*tools, row.thinking);

  const std::vector<Event> whole = parse_pieces(options, {row.completion});
  ParsedTurn turn;
  turn.add(whole);
  EXPECT_EQ(turn.reasoning, row.reasoning);
  EXPECT_EQ(turn.content, row.content);
  std::vector<std::string> arguments;
  for (const ParsedTurn::Call& call : turn.calls) {
    if (!call.closed) continue;
    EXPECT_EQ(call.name, "look");
    arguments.push_back(call.arguments);
  }
  EXPECT_EQ(arguments, row.arguments);

  const std::vector<std::string> expected = canonical(whole);
  const std::string_view text = row.completion;
  for (std::size_t cut = 1; cut < text.size(); ++cut)
    ASSERT_EQ(canonical(parse_pieces(options, {text.substr(0, cut), text.substr(cut)})), expected) << "cut at " << cut;
  EXPECT_EQ(canonical(parse_pieces(options, byte_by_byte(text))), expected);
}

INSTANTIATE_TEST_SUITE_P(Rows, FailureCatalogue, testing::ValuesIn(rows()), [](const auto& row) {
  std::string name;
  for (const char c : row.param.symptom) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

// "null arguments crash rendering": the codec refuses them by name. The server takes them as none (requests_test).
TEST(FailureCatalogueRendering, NullArgumentsAreAnError) {
  std::vector<Message> messages(2);
  messages[0].role = Role::kUser;
  messages[0].content = "Look";
  messages[1].role = Role::kAssistant;
  messages[1].tool_calls.push_back({"c1", "look", "null"});
  const auto rendered = render(messages, {});
  ASSERT_FALSE(rendered.has_value());
  EXPECT_EQ(error_name(rendered.error()), "type_error");
}

}  // namespace
}  // namespace hadal::chat
