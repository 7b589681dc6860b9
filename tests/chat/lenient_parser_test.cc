#include "chat/lenient_parser.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "chat/support.h"

namespace hadal::chat {
namespace {

const std::string kCall =
    "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" "
    "string=\"true\">x</｜DSML｜parameter>\n"
    "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

ToolTypes tools(std::vector<std::string> schemas) {
  std::vector<ToolSchema> list;
  for (std::string& schema : schemas) list.push_back({std::move(schema)});
  return ToolTypes::read(list).value();
}

ParsedTurn parse(const LenientOptions& options, std::string_view completion) {
  ParsedTurn turn;
  turn.add(parse_pieces(options, {completion}));
  return turn;
}

// What each push lets out, the end included: texts only, joined by '|'.
std::string stream(const LenientOptions& options, const std::vector<std::string_view>& pushes) {
  LenientParser parser(options);
  std::string out;
  auto show = [&](const std::vector<Event>& events) {
    for (const Event& event : events) out += event.text;
    out += '|';
  };
  for (std::string_view push : pushes) show(parser.push(push));
  show(parser.finish());
  return out;
}

TEST(Streaming, HoldsOnlyWhatMayBecomeAMarker) {
  LenientOptions chat, think;
  think.thinking = true;
  EXPECT_EQ(stream(chat, {"2 ", "<"}), "2 ||<|");  // an answer may end in '<'
  EXPECT_EQ(stream(chat, {"x\n", "\ny"}), "x|\n\ny||");
  EXPECT_EQ(stream(chat, {"x\n"}), "x|\n|");
  EXPECT_EQ(stream(think, {"r\n", "</thi", "nk>", "a"}), "r|||a||");
  EXPECT_EQ(stream(chat, {"a</thi", "s"}), "a|</this||");
  EXPECT_EQ(stream(chat, {"a<｜DS", "X"}), "a|<｜DSX||");
}

TEST(Streaming, HoldsUnfinishedUtf8) {
  std::string smile = "🙂";
  EXPECT_EQ(stream({}, {"a" + smile.substr(0, 2), smile.substr(2)}), "a|" + smile + "||");
  EXPECT_EQ(stream({}, {"\xC3"}), "|\xC3|");  // never finished: it still comes out
  EXPECT_EQ(stream({}, {"\xC3", "a"}),
            "|\xC3"
            "a||");
  EXPECT_EQ(stream({}, {"\xFF", "a"}), "\xFF|a||");  // cannot begin anything: not held
}

TEST(Streaming, LongStringsAreNotHeld) {
  ToolTypes declared = tools({R"({"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}})"});
  LenientParser parser(serving_options(declared, false));
  parser.push("<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">");
  std::size_t given = 0, seen = 0;
  for (int i = 0; i < 1000; ++i) {
    for (const Event& event : parser.push("line \"1\"\n")) seen += event.text.size();
    given += 12;  // the quotes and the newline are escaped
    ASSERT_EQ(seen, given);
  }
}

TEST(Streaming, NameIsAnnouncedBeforeItsArguments) {
  LenientParser parser({});
  std::vector<Event> events = parser.push("<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\"");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kCallOpened);
  EXPECT_EQ(events[0].text, "f");
}

TEST(Streaming, EndOfBlockIsAnnouncedOnce) {
  auto events = parse_pieces({}, {kCall, "more", "text"});
  int finished = 0;
  for (const Event& event : events) finished += event.kind == Event::Kind::kFinished;
  EXPECT_EQ(finished, 1);
}

TEST(MarkerTokens, SpelledMarkersAreText) {
  LenientOptions options;
  options.thinking = true;
  options.marker_tokens_only = true;
  LenientParser parser(options);
  ParsedTurn turn;
  turn.add(parser.push("say </think> or <｜DSML｜tool_calls>\n"));
  turn.add(parser.push("</think>", true));
  turn.add(parser.push("Done </think><"));
  turn.add(parser.push("｜DSML｜", true));
  turn.add(parser.push("tool_calls>\n<"));
  turn.add(parser.push("｜DSML｜", true));
  turn.add(parser.push("invoke name=\"f\">\n<"));
  turn.add(parser.push("｜DSML｜", true));
  turn.add(parser.push("parameter name=\"a\" string=\"true\">spelled </｜DSML｜parameter></"));
  turn.add(parser.push("｜DSML｜", true));
  turn.add(parser.push("parameter>\n</"));
  turn.add(parser.push("｜DSML｜", true));
  turn.add(parser.push("invoke>\n</"));
  turn.add(parser.push("｜DSML｜", true));
  turn.add(parser.push("tool_calls>"));
  turn.add(parser.finish());
  EXPECT_EQ(turn.reasoning, "say </think> or <｜DSML｜tool_calls>");
  EXPECT_EQ(turn.content, "Done </think>");
  ASSERT_EQ(turn.calls.size(), 1u);
  EXPECT_EQ(turn.calls[0].arguments, "{\"a\": \"spelled </｜DSML｜parameter>\"}");
  EXPECT_TRUE(turn.calls[0].closed);
  EXPECT_TRUE(turn.finished);
}

TEST(Settings, CallsInReasoningCanBeText) {
  LenientOptions options;
  options.thinking = true;
  options.calls_in_reasoning = false;
  ParsedTurn turn = parse(options, "r" + kCall + "</think>a");
  EXPECT_EQ(turn.reasoning, "r" + kCall);
  EXPECT_EQ(turn.content, "a");
  EXPECT_TRUE(turn.calls.empty());
}

TEST(Settings, StopSequencesMatchInTheAnswerOnly) {
  LenientOptions options;
  options.thinking = true;
  options.stop = {"", "STOP", "</thi"};
  ParsedTurn turn = parse(options, "STOP here</think>now STOP and more");
  EXPECT_EQ(turn.reasoning, "STOP here");
  EXPECT_EQ(turn.content, "now ");
  EXPECT_TRUE(turn.finished);
  EXPECT_EQ(turn.ignored, std::vector<std::string>{"content_after_finished"});
}

TEST(Settings, StopSequencesMayBeginWithNewlines) {
  LenientOptions options;
  options.stop = {"\n\n\n", "\nUser:"};
  EXPECT_EQ(parse(options, "a\n\nb\n\n\nc").content, "a\n\nb");
  ParsedTurn turn;
  turn.add(parse_pieces(options, byte_by_byte("a\n\nUser: b")));
  EXPECT_EQ(turn.content, "a\n");
  EXPECT_TRUE(turn.finished);
}

TEST(Settings, ContinuedTextKeepsItsNewlines) {
  LenientOptions options;
  options.keep_leading_newlines = true;
  EXPECT_EQ(parse(options, "\n\nand so on").content, "\n\nand so on");
}

TEST(Verdicts, SayWhatBecameOfTheArguments) {
  ToolTypes declared =
      tools({R"({"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}})"});
  auto verdict = [&](std::string_view parameters) {
    ParsedTurn turn = parse(serving_options(declared, false),
                            "<｜DSML｜invoke name=\"f\">\n" + std::string(parameters) + "\n</｜DSML｜invoke>");
    EXPECT_EQ(turn.calls.size(), 1u);
    return std::pair(turn.calls[0].arguments, turn.calls[0].verdict);
  };
  auto parameter = [](std::string name, std::string flag, std::string value) {
    return "<｜DSML｜parameter name=\"" + name + "\" string=\"" + flag + "\">" + value + "</｜DSML｜parameter>";
  };
  using enum ArgumentsVerdict;
  EXPECT_EQ(verdict(parameter("a", "false", "1")), std::pair(std::string(R"({"a": 1})"), kGood));
  EXPECT_EQ(verdict(parameter("a", "true", "1")), std::pair(std::string(R"({"a": 1})"), kRepaired));
  EXPECT_EQ(verdict(parameter("a", "true", "one")), std::pair(std::string(R"({"a": "one"})"), kGood));
  EXPECT_EQ(verdict(parameter("a", "false", "one")), std::pair(std::string(R"({"a": one})"), kInvalid));
  EXPECT_EQ(verdict(parameter("a", "false", "")), std::pair(std::string(R"({"a": })"), kInvalid));
  EXPECT_EQ(verdict(parameter("a", "false", "NaN")), std::pair(std::string(R"({"a": NaN})"), kInvalid));
  EXPECT_EQ(verdict(parameter("b", "true", "x")), std::pair(std::string(R"({"b": "x"})"), kMissing));
  EXPECT_EQ(verdict(""), std::pair(std::string("{}"), kMissing));
  EXPECT_EQ(verdict(parameter("b", "false", "Oslo")), std::pair(std::string(R"({"b": "Oslo"})"), kMissing));
  EXPECT_EQ(verdict(parameter("a", "false", " [1, (2, 3), {'k': None}] ")),
            std::pair(std::string(R"({"a": [1, [2, 3], {"k": null}]})"), kRepaired));
}

TEST(Verdicts, UndeclaredToolsAreStillCalls) {
  ToolTypes declared = tools({R"({"name": "f"})"});
  ParsedTurn turn = parse(serving_options(declared, false), "<｜DSML｜invoke name=\"other\">\n</｜DSML｜invoke>");
  ASSERT_EQ(turn.calls.size(), 1u);
  EXPECT_EQ(turn.calls[0].name, "other");
  EXPECT_EQ(turn.calls[0].arguments, "{}");
}

TEST(CutOff, HeldValuesComeOutAtTheEnd) {
  ToolTypes declared = tools({R"({"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}}})"});
  auto arguments = [&](std::string_view rest) {
    ParsedTurn turn = parse(serving_options(declared, false), "<｜DSML｜invoke name=\"f\">\n" + std::string(rest));
    EXPECT_EQ(turn.calls.size(), 1u);
    EXPECT_FALSE(turn.calls[0].closed);
    EXPECT_TRUE(turn.message().tool_calls.empty());
    EXPECT_EQ(turn.finish_reason(true), "length");
    return turn.calls[0].arguments;
  };
  EXPECT_EQ(arguments(""), "");
  EXPECT_EQ(arguments("<｜DSML｜parameter name=\"a"), "{\"a");
  EXPECT_EQ(arguments("<｜DSML｜parameter name=\"a\" string=\"false\">12"), "{\"a\": 12");
  EXPECT_EQ(arguments("<｜DSML｜parameter name=\"input\" string=\"true\">{\"a\""), "{\"input\": \"{\\\"a\\\"");
  EXPECT_EQ(arguments("<｜DSML｜parameter name=\"input\" string=\"false\">{}</｜DSML｜parameter>\n"), "{\"input\": {}");
  ParsedTurn name = parse(serving_options(declared, false), "<｜DSML｜invoke name=\"f");
  EXPECT_EQ(name.ignored, std::vector<std::string>{"unfinished_call"});
}

TEST(Verdicts, LongValuesStreamAndAreStillChecked) {
  ToolTypes declared = tools({R"({"name": "f"})"});
  std::string list = "[1";
  while (list.size() < 100'000) list += ", 1";
  for (bool whole : {true, false}) {
    LenientParser parser(serving_options(declared, false));
    ParsedTurn turn;
    turn.add(parser.push("<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"false\">" + list));
    EXPECT_GT(turn.calls.at(0).arguments.size(), 90'000u);  // it is not waited for
    turn.add(parser.push((whole ? "]" : "") + std::string("</｜DSML｜parameter>\n</｜DSML｜invoke>")));
    turn.add(parser.finish());
    EXPECT_EQ(turn.calls[0].arguments, "{\"a\": " + list + (whole ? "]}" : "}"));
    EXPECT_EQ(turn.calls[0].verdict, whole ? ArgumentsVerdict::kGood : ArgumentsVerdict::kInvalid);
  }
}

TEST(FinishReason, CountsClosedCallsOnly) {
  EXPECT_EQ(parse({}, kCall).finish_reason(false), "tool_calls");
  EXPECT_EQ(parse({}, kCall).finish_reason(true), "tool_calls");  // the block was complete
  EXPECT_EQ(parse({}, "text").finish_reason(false), "stop");
  EXPECT_EQ(parse({}, "text").finish_reason(true), "length");
}

TEST(Types, ReadFromSchemas) {
  auto types = [](std::string_view schema) { return allowed_types(parse_json(schema).value()); };
  EXPECT_EQ(types(R"({"type": "integer"})"), unsigned{kIntegerType});
  EXPECT_EQ(types(R"({"type": "number"})"), kIntegerType | kNumberType);
  EXPECT_EQ(types(R"({"type": ["string", "null"]})"), kStringType | kNullType);
  EXPECT_EQ(types(R"({"enum": [1, "1", null]})"), kIntegerType | kStringType | kNullType);
  EXPECT_EQ(types(R"({"const": true})"), unsigned{kBooleanType});
  EXPECT_EQ(types(R"({"anyOf": [{"type": "array"}, {"type": "object"}]})"), kArrayType | kObjectType);
  EXPECT_EQ(types(R"({"type": "boolean", "nullable": true})"), kBooleanType | kNullType);
  for (std::string_view open : {"{}", "true", "[]", R"({"$ref": "#/x"})", R"({"type": "thing"})",
                                R"({"type": "string", "const": 1})", R"({"anyOf": [{"type": "string"}, {}]})"}) {
    EXPECT_EQ(types(open), unsigned{kAnyType}) << open;
  }
}

TEST(Hostile, LongRunsStayLinear) {
  auto start = std::chrono::steady_clock::now();
  LenientOptions options;
  options.thinking = true;
  std::string newlines(300'000, '\n');
  EXPECT_EQ(parse(options, "a" + newlines + "b").reasoning, "a" + newlines + "b");
  ParsedTurn turn;
  turn.add(parse_pieces(options, byte_by_byte("a" + newlines + "</think>x")));
  EXPECT_EQ(turn.reasoning, "a");
  std::string closes;
  for (int i = 0; i < 50'000; ++i) closes += "</think>";
  EXPECT_EQ(parse(options, closes).ignored.size(), 49'999u);
  auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 10.0);  // quadratic work here would take hours
}

}  // namespace
}  // namespace hadal::chat
