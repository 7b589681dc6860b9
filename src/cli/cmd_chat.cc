// JSON lines in, JSON lines out: one conversation or completion per line, in the form of the golden files.
#include <cstdio>
#include <iostream>
#include <string>

#include "chat/codec.h"
#include "chat/errors.h"
#include "chat/lenient_parser.h"
#include "chat/message_json.h"
#include "chat/python_json.h"
#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {
namespace {

using chat::JsonValue;
using Kind = JsonValue::Kind;

std::unexpected<Error> malformed(std::string_view what) { return fail(ErrorCode::kBadInput, "{}", what); }

// A string at the key, or the fallback when the key is absent or null.
Result<std::string> string_at(const JsonValue& object, std::string_view key, std::string_view fallback) {
  const JsonValue* value = object.find(key);
  if (!value || value->is(Kind::kNull)) return std::string(fallback);
  if (!value->is(Kind::kString)) return malformed(fmt::format("'{}' must be a string", key));
  return value->text;
}

Result<bool> flag_at(const JsonValue& object, std::string_view key, bool fallback) {
  const JsonValue* value = object.find(key);
  if (!value) return fallback;
  if (!value->is(Kind::kTrue) && !value->is(Kind::kFalse))
    return malformed(fmt::format("'{}' must be true or false", key));
  return value->is(Kind::kTrue);
}

// The line's options; none where the key is absent or null.
Result<const JsonValue*> options_of(const JsonValue& line) {
  static const JsonValue kNone;
  const JsonValue* value = line.find("options");
  if (!value || value->is(Kind::kNull)) return &kNone;
  if (!value->is(Kind::kObject)) return malformed("'options' must be an object");
  return value;
}

// Conversation errors are results of the command ({"error": NAME}); all others stop it.
Result<std::string> named_or_stop(const Error& error) {
  std::string_view name = chat::error_name(error);
  if (name.empty()) return std::unexpected(error);
  return "{\"error\": " + chat::json_string(name) + "}";
}

// options.thinking_mode, or the short form "thinking": true; chat when neither is given.
Result<chat::ThinkingMode> mode_of(const JsonValue& line) {
  bool thinking = HADAL_TRY(flag_at(line, "thinking", false));
  const JsonValue* options = HADAL_TRY(options_of(line));
  std::string name = HADAL_TRY(string_at(*options, "thinking_mode", thinking ? "thinking" : "chat"));
  return chat::parse_thinking_mode(name);
}

Result<chat::Generation> generation_of(const JsonValue& line) {
  std::string name = HADAL_TRY(string_at(line, "encoder", "v4-preview"));
  return chat::parse_generation(name);
}

Result<chat::RenderOptions> render_options(const JsonValue& line) {
  const JsonValue& given = *HADAL_TRY(options_of(line));
  chat::RenderOptions options;
  options.generation = HADAL_TRY(generation_of(line));
  options.mode = HADAL_TRY(mode_of(line));
  if (const JsonValue* effort = given.find("reasoning_effort"); effort && !effort->is(Kind::kNull)) {
    options.effort = HADAL_TRY(
        chat::parse_effort(options.generation, effort->is(Kind::kString) ? effort->text : python_json(*effort)));
  }
  options.drop_thinking = HADAL_TRY(flag_at(given, "drop_thinking", true));
  options.add_bos = HADAL_TRY(flag_at(given, "add_default_bos_token", true));
  return options;
}

Result<std::string> prompt_of(const JsonValue& line, std::string_view source) {
  chat::RenderOptions options = HADAL_TRY(render_options(line));
  std::vector<chat::Message> context;
  if (const JsonValue* list = line.find("context"); list && !list->is(Kind::kNull)) {
    context = HADAL_TRY(chat::messages_from_json(*list, source));
  }
  std::vector<chat::Message> messages = HADAL_TRY(chat::messages_from_json(*line.find("messages"), source));
  return HADAL_TRY(chat::render(messages, options, context)).text;
}

Result<std::string> encode_line(const JsonValue& line, std::string_view source) {
  if (!line.find("messages")) return malformed("there is no 'messages' list");
  auto prompt = prompt_of(line, source);
  if (!prompt) return named_or_stop(prompt.error());
  return "{\"prompt\": " + chat::json_string(*prompt) + "}";
}

Result<std::string> completion_of(const JsonValue& line) {
  const JsonValue* completion = line.find("completion");
  if (!completion || !completion->is(Kind::kString)) return malformed("there is no 'completion' string");
  return completion->text;
}

Result<chat::Message> strict_message(const JsonValue& line) {
  std::string completion = HADAL_TRY(completion_of(line));
  if (auto generation = generation_of(line); !generation) return std::unexpected(generation.error());
  chat::ThinkingMode mode = HADAL_TRY(mode_of(line));
  return chat::parse_strict(completion, mode);
}

Result<std::string> decode_line(const JsonValue& line, std::string_view) {
  auto message = strict_message(line);
  if (!message) return named_or_stop(message.error());
  return "{\"message\": " + chat::assistant_json(*message) + "}";
}

Result<std::string> decode_lenient_line(const JsonValue& line, std::string_view) {
  std::string completion = HADAL_TRY(completion_of(line));
  if (auto generation = generation_of(line); !generation) return named_or_stop(generation.error());
  auto mode = mode_of(line);
  if (!mode) return named_or_stop(mode.error());
  chat::LenientOptions options;
  options.thinking = *mode == chat::ThinkingMode::kThinking;
  chat::LenientParser parser(options);
  chat::ParsedTurn turn;
  turn.add(parser.push(completion));
  turn.add(parser.finish());
  std::string out = "{\"reasoning\": " + chat::json_string(turn.reasoning) +
                    ", \"content\": " + chat::json_string(turn.content) + ", \"tool_calls\": [";
  for (std::size_t i = 0; i < turn.calls.size(); ++i) {
    const auto& call = turn.calls[i];
    out += fmt::format("{}{{\"name\": {}, \"arguments\": {}, \"valid_json\": {}}}", i > 0 ? ", " : "",
                       chat::json_string(call.name), chat::json_string(call.arguments),
                       chat::parse_json(call.arguments).has_value());
  }
  out += "], \"ended_in\": " + chat::json_string(parser.state_name()) + ", \"ignored\": [";
  for (std::size_t i = 0; i < turn.ignored.size(); ++i) out += (i > 0 ? ", " : "") + chat::json_string(turn.ignored[i]);
  return out + "]}";
}

using LineWork = Result<std::string> (*)(const JsonValue& line, std::string_view source);

int for_each_line(LineWork work) {
  std::string line;
  for (std::int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto parsed = chat::parse_json(line);
    if (parsed && !parsed->is(Kind::kObject)) parsed = malformed("the line is not a JSON object");
    Result<std::string> out = parsed ? work(*parsed, line) : std::unexpected(parsed.error());
    if (!out) return report({ErrorCode::kBadInput, fmt::format("line {}: {}", number, out.error().what)});
    fmt::print("{}\n", *out);
    std::fflush(stdout);  // a program at the other end of a pipe may wait for this line
  }
  const Status ended = input_ended();
  return ended ? 0 : report(ended.error());
}

}  // namespace

int run_chat_encode(const ChatOptions&) { return for_each_line(encode_line); }
int run_chat_decode(const ChatOptions& options) {
  return for_each_line(options.lenient ? decode_lenient_line : decode_line);
}

}  // namespace hadal::cli
