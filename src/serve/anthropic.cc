// Anthropic Messages.
#include <nlohmann/json.hpp>

#include "chat/python_json.h"
#include "serve/conversation.h"
#include "serve/dialect.h"
#include "serve/openai.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonValue::Kind;
using chat::Message;
using chat::Role;

std::string raw(std::string_view source, const JsonValue& v) {
  return std::string(source.substr(v.begin, v.end - v.begin));
}

// The blocks of one message, as the messages of the codec they become: results first stand alone, then texts.
Status read_message(const JsonValue& value, std::size_t index, std::string_view source, Ask& ask) {
  Fields f = HADAL_TRY(Fields::of(value, fmt::format("messages[{}]", index)));
  const std::string role = HADAL_TRY(f.required_text("role"));
  const JsonValue* content = f.get("content");
  f.pass({"id", "type", "model", "stop_reason", "stop_sequence", "usage", "container"});
  f.report_unknown(ask.warnings);
  if (!content) return f.wrong("content", "a string or a list of blocks");
  if (role != "user" && role != "assistant" && role != "system")
    return f.wrong("role", fmt::format("user or assistant, not '{}'", role));
  Message m;
  m.role = role == "assistant" ? Role::kAssistant : role == "system" ? Role::kSystem : Role::kUser;
  if (m.role != Role::kAssistant && content->is(Kind::kString)) {
    m.content = content->text;
    ask.messages.push_back(std::move(m));
    return {};
  }
  if (content->is(Kind::kString)) {
    m.content = content->text;
    ask.messages.push_back(std::move(m));
    return {};
  }
  if (!content->is(Kind::kArray)) return f.wrong("content", "a string or a list of blocks");
  bool has_text = false;
  for (std::size_t i = 0; i < content->items.size(); ++i) {
    Fields b = HADAL_TRY(Fields::of(content->items[i], f.path("content", i)));
    const std::string type = HADAL_TRY(b.required_text("type"));
    b.pass({"cache_control", "citations", "signature", "caller"});
    if (type == "text") {
      if (has_text && m.role != Role::kAssistant) *m.content += "\n\n";  // blocks of one turn, as in training
      *m.content += HADAL_TRY(b.required_text("text"));
      has_text = true;
    } else if (type == "thinking" && m.role == Role::kAssistant) {
      m.reasoning_content += HADAL_TRY(b.required_text("thinking"));
    } else if (type == "redacted_thinking" && m.role == Role::kAssistant) {
      b.pass({"data"});  // what was hidden is restored from memory, if it was this server that hid it
    } else if (type == "tool_use" && m.role == Role::kAssistant) {
      chat::ToolCall call;
      call.id = HADAL_TRY(b.required_text("id"));
      call.name = HADAL_TRY(b.required_text("name"));
      const JsonValue* input = b.get("input");
      call.arguments = input ? raw(source, *input) : "{}";
      if (input && !input->is(Kind::kObject)) return b.wrong("input", "an object");
      m.tool_calls.push_back(std::move(call));
    } else if (type == "tool_result" && m.role == Role::kUser) {
      const std::string id = HADAL_TRY(b.required_text("tool_use_id"));
      ask.messages.push_back(HADAL_TRY(tool_result(b.get("content"), id, b.path("content"))));
      b.pass({"is_error"});  // the text says so; the format has no place for a flag
    } else {
      return fail(ErrorCode::kUnsupported, "'{}' is a block of type '{}', which a {} message cannot hold here",
                  f.path("content", i), type, role);
    }
    b.report_unknown(ask.warnings);
  }
  if (m.role == Role::kAssistant || has_text) ask.messages.push_back(std::move(m));
  return {};
}

Status read_tools(Fields& f, std::string_view source, Ask& ask) {
  const auto* tools = HADAL_TRY(f.list("tools"));
  for (std::size_t i = 0; tools && i < tools->size(); ++i) {
    Fields t = HADAL_TRY(Fields::of((*tools)[i], f.path("tools", i)));
    const std::string type = HADAL_TRY(t.text("type")).value_or("custom");
    if (type != "custom") {
      ask.warnings.push_back(fmt::format("'{}' is a tool of type '{}', which was left out", f.path("tools", i), type));
      continue;
    }
    const std::string name = HADAL_TRY(t.required_text("name"));
    const auto description = HADAL_TRY(t.text("description"));
    const JsonValue* schema = t.get("input_schema");
    std::string function = "{\"name\": " + chat::json_string(name);
    if (description) function += ", \"description\": " + chat::json_string(*description);
    if (schema) function += ", \"parameters\": " + raw(source, *schema);
    ask.tools.push_back(HADAL_TRY(tool_schema(function + "}", f.path("tools", i))));
    t.pass({"cache_control", "strict", "eager_input_streaming", "defer_loading", "allowed_callers", "input_examples"});
    t.report_unknown(ask.warnings);
  }
  auto choice = HADAL_TRY(f.object("tool_choice"));
  if (!choice) return {};
  const std::string type = HADAL_TRY(choice->required_text("type"));
  using K = ToolChoice::Kind;
  if (type == "any") {
    ask.choice.kind = K::kRequired;
  } else if (type == "none") {
    ask.choice.kind = K::kNone;
  } else if (type == "tool") {
    ask.choice.kind = K::kNamed;
    ask.choice.name = HADAL_TRY(choice->required_text("name"));
  } else if (type != "auto") {
    return choice->wrong("type", "auto, any, tool or none");
  }
  ask.parallel = !HADAL_TRY(choice->flag("disable_parallel_tool_use")).value_or(false);
  choice->report_unknown(ask.warnings);
  return {};
}

class Messages final : public Dialect {
 public:
  Result<Ask> read(const JsonValue& body, std::string_view source) const override {
    Ask ask;
    Fields f = HADAL_TRY(Fields::of(body, ""));
    if (const JsonValue* system = f.get("system")) {
      Message m;
      m.role = Role::kSystem;
      if (system->is(Kind::kArray)) {  // separate blocks, each a text of its own
        for (std::size_t i = 0; i < system->items.size(); ++i) {
          Fields b = HADAL_TRY(Fields::of(system->items[i], f.path("system", i)));
          if (HADAL_TRY(b.required_text("type")) != "text") return b.wrong("type", "text");
          if (i > 0) *m.content += "\n\n";
          *m.content += HADAL_TRY(b.required_text("text"));
          b.pass({"cache_control", "citations"});
          b.report_unknown(ask.warnings);
        }
      } else {
        m.content = HADAL_TRY(text_of(system, "system", ask.warnings));
      }
      ask.messages.push_back(std::move(m));
    }
    const auto* messages = HADAL_TRY(f.list("messages"));
    if (!messages) return fail(ErrorCode::kUsage, "'messages' is missing; it must be a list");
    if (messages->empty()) return fail(ErrorCode::kUsage, "'messages' is empty; send at least one message");
    for (std::size_t i = 0; i < messages->size(); ++i) HADAL_CHECK_OK(read_message((*messages)[i], i, source, ask));
    HADAL_CHECK_OK(read_tools(f, source, ask));
    if (auto thinking = HADAL_TRY(f.object("thinking"))) {
      const std::string type = HADAL_TRY(thinking->required_text("type"));
      if (type != "enabled" && type != "disabled" && type != "adaptive")
        return thinking->wrong("type", "enabled, disabled or adaptive");
      ask.thinking = type != "disabled";
      ask.thinking_budget = HADAL_TRY(thinking->integer("budget_tokens", 0, INT64_MAX)).value_or(-1);
      thinking->pass({"display"});
      thinking->report_unknown(ask.warnings);
    }
    if (auto output = HADAL_TRY(f.object("output_config"))) {
      ask.effort = HADAL_TRY(output->text("effort")).value_or("");
      HADAL_CHECK_OK(output->refuse("format", "answers cannot be held to a schema; ask for the form in a message"));
      output->report_unknown(ask.warnings);
    }
    HADAL_CHECK_OK(f.refuse("output_format", "answers cannot be held to a schema; ask for the form in a message"));
    ask.model = HADAL_TRY(f.text("model")).value_or("");
    ask.max_tokens = HADAL_TRY(f.integer("max_tokens", 1, INT64_MAX)).value_or(-1);
    ask.temperature = HADAL_TRY(f.number("temperature"));
    ask.top_p = HADAL_TRY(f.number("top_p"));
    ask.top_k = HADAL_TRY(f.integer("top_k", 0, INT32_MAX));
    if (auto seed = HADAL_TRY(f.integer("seed", INT64_MIN, INT64_MAX))) ask.seed = static_cast<std::uint64_t>(*seed);
    ask.stop = HADAL_TRY(f.texts("stop_sequences"));
    ask.stream = HADAL_TRY(f.flag("stream")).value_or(false);
    if (auto metadata = HADAL_TRY(f.object("metadata"))) ask.client = HADAL_TRY(metadata->text("user_id")).value_or("");
    HADAL_CHECK_OK(f.refuse("mcp_servers", "this server calls no other servers"));
    HADAL_CHECK_OK(f.refuse("container", "this server runs no code"));
    f.pass({"service_tier", "context_management", "betas", "inference_geo", "cache_control"});
    f.report_unknown(ask.warnings);
    return ask;
  }
  std::unique_ptr<AnswerWriter> writer(std::shared_ptr<const Ask> ask, AnswerHead head) const override;
  Response error(int status, const Error& error, const std::string& request_id) const override {
    return {status, "application/json", {}, body(status, error, request_id)};
  }
  std::string heartbeat() const override { return "event: ping\ndata: {\"type\":\"ping\"}\n\n"; }

  static std::string body(int status, const Error& error, const std::string& request_id) {
    const char* type = status == 401   ? "authentication_error"
                       : status == 403 ? "permission_error"
                       : status == 404 ? "not_found_error"
                       : status == 413 ? "request_too_large"
                       : status == 429 ? "rate_limit_error"
                       : status == 503 ? "overloaded_error"
                       : status >= 500 ? "api_error"
                                       : "invalid_request_error";
    Json j;
    j["type"] = "error";
    j["error"] = {{"type", type}, {"message", error.what}};
    if (!request_id.empty()) j["request_id"] = request_id;
    return dump(j);
  }
};

class Writer final : public AnswerWriter {
 public:
  Writer(std::shared_ptr<const Ask> ask, AnswerHead head) : ask_(std::move(ask)), head_(std::move(head)) {}

  std::string begin() override {
    Json message = shell();
    message["content"] = Json::array();
    message["stop_reason"] = nullptr;
    message["stop_sequence"] = nullptr;
    message["usage"] = {{"input_tokens", head_.prompt_tokens},
                        {"cache_creation_input_tokens", 0},
                        {"cache_read_input_tokens", 0},
                        {"output_tokens", 0}};
    return event("message_start", {{"message", std::move(message)}});
  }
  std::string step(std::size_t, const Answer& answer, const AnswerStep& step) override {
    using K = chat::Event::Kind;
    std::string out;
    for (const chat::Event& e : step.events) {
      switch (e.kind) {
        case K::kReasoning:
          out += open(Block::kThinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
          out += delta({{"type", "thinking_delta"}, {"thinking", e.text}});
          break;
        case K::kContent:
          out += open(Block::kText, {{"type", "text"}, {"text", ""}});
          out += delta({{"type", "text_delta"}, {"text", e.text}});
          break;
        case K::kCallOpened:
          out += close_block();
          out +=
              open(Block::kCall,
                   {{"type", "tool_use"}, {"id", answer.call_id(e.call)}, {"name", e.text}, {"input", Json::object()}});
          break;
        case K::kArguments:
          out += delta({{"type", "input_json_delta"}, {"partial_json", e.text}});
          break;
        case K::kCallClosed:
          out += close_block();
          break;
        default:
          break;
      }
    }
    return out;
  }
  std::string end(std::size_t, const Answer& answer) override {
    std::string out = close_block();
    if (index_ == 0) {  // clients expect at least one block
      out += open(Block::kText, {{"type", "text"}, {"text", ""}});
      out += close_block();
    }
    Json d;
    d["stop_reason"] = reason(answer);
    d["stop_sequence"] = sequence(answer);
    Json members;
    members["delta"] = std::move(d);
    members["usage"] = usage(answer);
    return out + event("message_delta", members);
  }
  std::string close(std::span<const std::unique_ptr<Answer>>) override { return event("message_stop", Json::object()); }
  std::string broken(const Error& error) override { return sse(Messages::body(500, error, ""), "error"); }

  std::string whole(std::span<const std::unique_ptr<Answer>> answers) override {
    const Answer& a = *answers[0];
    Json j = shell();
    Json content = Json::array();
    if (!a.turn().reasoning.empty())
      content.push_back({{"type", "thinking"}, {"thinking", a.turn().reasoning}, {"signature", signature()}});
    if (!a.turn().content.empty()) content.push_back({{"type", "text"}, {"text", a.turn().content}});
    for (std::size_t c = 0; c < a.turn().calls.size(); ++c) {
      const auto& call = a.turn().calls[c];
      if (!call.closed) continue;
      Json input = Json::parse(call.arguments, nullptr, false);
      // What the model wrote is not JSON; the API has no other place for it.
      if (!input.is_object()) input = Json{{"arguments", call.arguments}};
      content.push_back(
          {{"type", "tool_use"}, {"id", a.call_id(static_cast<int>(c))}, {"name", call.name}, {"input", input}});
    }
    j["content"] = std::move(content);
    j["stop_reason"] = reason(a);
    j["stop_sequence"] = sequence(a);
    j["usage"] = usage(a);
    return dump(j);
  }

 private:
  enum class Block { kNone, kThinking, kText, kCall };

  Json shell() const {
    Json j;
    j["id"] = "msg_" + head_.id;
    j["type"] = "message";
    j["role"] = "assistant";
    j["model"] = head_.model;
    return j;
  }
  static std::string event(const char* name, const Json& members) {
    Json j;
    j["type"] = name;
    for (const auto& [key, value] : members.items()) j[key] = value;
    return sse(dump(j), name);
  }
  std::string open(Block kind, const Json& block) {
    if (open_ == kind && kind != Block::kCall) return "";
    std::string out = close_block();
    open_ = kind;
    return out + event("content_block_start", {{"index", index_}, {"content_block", block}});
  }
  std::string delta(const Json& what) const {
    return event("content_block_delta", {{"index", index_}, {"delta", what}});
  }
  std::string close_block() {
    if (open_ == Block::kNone) return "";
    std::string out;
    if (open_ == Block::kThinking) out = delta({{"type", "signature_delta"}, {"signature", signature()}});
    out += event("content_block_stop", {{"index", index_}});
    ++index_;
    open_ = Block::kNone;
    return out;
  }
  // Some clients drop a thinking block without a signature. Nothing depends on it: reasoning is restored from memory.
  std::string signature() const { return "hadal-" + head_.id; }
  static Json reason(const Answer& a) {
    switch (a.finish()) {
      case Finish::kToolCalls:
        return "tool_use";
      case Finish::kLength:
        return "max_tokens";
      case Finish::kStopString:
        return "stop_sequence";
      default:
        return "end_turn";
    }
  }
  static Json sequence(const Answer& a) {
    return a.finish() == Finish::kStopString ? Json(a.stop_string()) : Json(nullptr);
  }
  static Json usage(const Answer& a) {
    // Input is what was read anew; what the cache had is counted beside it.
    return {{"input_tokens", a.usage().prompt - a.usage().cached},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", a.usage().cached},
            {"output_tokens", a.usage().generated}};
  }

  std::shared_ptr<const Ask> ask_;
  AnswerHead head_;
  Block open_ = Block::kNone;
  int index_ = 0;
};

std::unique_ptr<AnswerWriter> Messages::writer(std::shared_ptr<const Ask> ask, AnswerHead head) const {
  return std::make_unique<Writer>(std::move(ask), std::move(head));
}

}  // namespace

const Dialect& anthropic_messages() {
  static const Messages dialect;
  return dialect;
}

}  // namespace hadal::serve
