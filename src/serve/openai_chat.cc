// OpenAI Chat Completions, with the reasoning_content field of DeepSeek's own API.
#include <nlohmann/json.hpp>

#include "serve/conversation.h"
#include "serve/dialect.h"
#include "serve/openai.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonValue::Kind;
using chat::Message;
using chat::Role;

Result<std::vector<chat::ToolCall>> calls_of(Fields& message, std::string_view source,
                                             std::vector<std::string>& warnings) {
  std::vector<chat::ToolCall> out;
  const auto* list = HADAL_TRY(message.list("tool_calls"));
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    Fields call = HADAL_TRY(Fields::of((*list)[i], message.path("tool_calls", i)));
    chat::ToolCall one;
    one.id = HADAL_TRY(call.required_text("id"));
    call.pass({"type", "index"});
    auto function = HADAL_TRY(call.object("function"));
    if (!function) return call.wrong("function", "an object with name and arguments");
    one.name = HADAL_TRY(function->required_text("name"));
    // Some clients send the object instead of its text.
    if (const JsonValue* arguments = function->get("arguments"); arguments && arguments->is(Kind::kString))
      one.arguments = arguments->text;
    else if (arguments)
      one.arguments = std::string(source.substr(arguments->begin, arguments->end - arguments->begin));
    function->report_unknown(warnings);
    call.report_unknown(warnings);
    out.push_back(std::move(one));
  }
  return out;
}

Result<Message> message_of(const JsonValue& value, std::size_t index, std::string_view source, Ask& ask) {
  Fields f = HADAL_TRY(Fields::of(value, fmt::format("messages[{}]", index)));
  const std::string role = HADAL_TRY(f.required_text("role"));
  Message m;
  f.pass({"name", "refusal", "annotations", "id", "cache_control"});
  HADAL_CHECK_OK(f.refuse("audio", "this model neither hears nor speaks"));
  const JsonValue* content = f.get("content");
  if (role == "tool" || role == "function") {
    const std::string id = HADAL_TRY(f.text("tool_call_id")).value_or("");
    m = HADAL_TRY(tool_result(content, id, f.path("content")));
  } else {
    m.content = HADAL_TRY(text_of(content, f.path("content"), ask.warnings));
    if (role == "system") {
      m.role = Role::kSystem;
    } else if (role == "developer") {
      m.role = Role::kDeveloper;
    } else if (role == "user") {
      m.role = Role::kUser;
    } else if (role == "latest_reminder") {
      m.role = Role::kLatestReminder;
    } else if (role == "assistant") {
      m.role = Role::kAssistant;
      auto reasoning = HADAL_TRY(f.text("reasoning_content"));
      auto short_name = HADAL_TRY(f.text("reasoning"));  // as some other servers call it
      m.reasoning_content = reasoning ? *reasoning : short_name.value_or("");
      m.tool_calls = HADAL_TRY(calls_of(f, source, ask.warnings));
      m.wo_eos = HADAL_TRY(f.flag("prefix")).value_or(false);
      HADAL_CHECK_OK(f.refuse("function_call", "it is the old form of 'tool_calls'; send that"));
    } else {
      return f.wrong("role", fmt::format("one of system, developer, user, assistant and tool, not '{}'", role));
    }
  }
  f.report_unknown(ask.warnings);
  return m;
}

}  // namespace

Status read_chat_messages(Fields& f, std::string_view source, Ask& ask) {
  const auto* messages = HADAL_TRY(f.list("messages"));
  for (std::size_t i = 0; messages && i < messages->size(); ++i)
    ask.messages.push_back(HADAL_TRY(message_of((*messages)[i], i, source, ask)));
  return {};
}

Status read_chat_tools(Fields& f, std::string_view source, Ask& ask) {
  const auto* tools = HADAL_TRY(f.list("tools"));
  for (std::size_t i = 0; tools && i < tools->size(); ++i) {
    const std::string path = f.path("tools", i);
    Fields tool = HADAL_TRY(Fields::of((*tools)[i], path));
    const std::string type = HADAL_TRY(tool.text("type")).value_or("function");
    if (type != "function") {
      ask.warnings.push_back(fmt::format("'{}' is a tool of type '{}', which was left out", path, type));
      continue;
    }
    const JsonValue* function = tool.get("function");
    if (!function || !function->is(Kind::kObject)) return tool.wrong("function", "an object");
    ask.tools.push_back(
        HADAL_TRY(tool_schema(source.substr(function->begin, function->end - function->begin), tool.path("function"))));
  }
  return read_tool_choice(f, ask);
}

namespace {

// Where clients say whether and how hard to think: DeepSeek's own field, OpenAI's, and those of two other servers.
Status read_thinking(Fields& f, Ask& ask) {
  if (auto effort = HADAL_TRY(f.text("reasoning_effort"))) {
    ask.effort = *effort;
    if (ask.effort == "none") ask.thinking = false;
  }
  if (auto thinking = HADAL_TRY(f.object("thinking"))) {
    const std::string type = HADAL_TRY(thinking->required_text("type"));
    if (type != "enabled" && type != "disabled" && type != "adaptive")
      return thinking->wrong("type", "enabled, disabled or adaptive");
    ask.thinking = type != "disabled";
    ask.thinking_budget = HADAL_TRY(thinking->integer("budget_tokens", 0, INT64_MAX)).value_or(-1);
    thinking->report_unknown(ask.warnings);
  }
  if (auto arguments = HADAL_TRY(f.object("chat_template_kwargs"))) {
    for (std::string_view key : {"thinking", "enable_thinking"})
      if (auto on = HADAL_TRY(arguments->flag(key))) ask.thinking = *on;
    arguments->report_unknown(ask.warnings);
  }
  return {};
}

class ChatDialect final : public Dialect {
 public:
  Result<Ask> read(const JsonValue& body, std::string_view source) const override {
    Ask ask;
    Fields f = HADAL_TRY(Fields::of(body, ""));
    if (!f.has("messages")) return fail(ErrorCode::kUsage, "'messages' is missing; it must be a list");
    HADAL_CHECK_OK(read_chat_messages(f, source, ask));
    HADAL_CHECK_OK(read_chat_tools(f, source, ask));
    HADAL_CHECK_OK(read_thinking(f, ask));
    HADAL_CHECK_OK(read_sampling(f, ask));
    const auto old_limit = HADAL_TRY(f.integer("max_tokens", 1, INT64_MAX));
    const auto limit = HADAL_TRY(f.integer("max_completion_tokens", 1, INT64_MAX));
    ask.max_tokens = limit ? *limit : old_limit.value_or(-1);
    ask.logprobs = HADAL_TRY(f.flag("logprobs")).value_or(false);
    ask.top_logprobs = static_cast<int>(HADAL_TRY(f.integer("top_logprobs", 0, 20)).value_or(0));
    if (ask.top_logprobs > 0 && !ask.logprobs)
      return fail(ErrorCode::kUsage, "'top_logprobs' needs 'logprobs' to be true");
    if (HADAL_TRY(f.flag("continue_final_message")).value_or(false)) {
      if (ask.messages.empty() || ask.messages.back().role != Role::kAssistant)
        return fail(ErrorCode::kUsage, "'continue_final_message' needs the last message to be the assistant's");
      ask.messages.back().wo_eos = true;
    }
    f.pass({"add_generation_prompt"});
    if (auto format = HADAL_TRY(f.object("response_format"))) {
      const std::string type = HADAL_TRY(format->required_text("type"));
      if (type != "text")
        return fail(ErrorCode::kUnsupported,
                    "'response_format' of type '{}' is not supported: answers cannot be held to a schema; ask for the "
                    "form in a message",
                    type);
    }
    if (const auto modalities = HADAL_TRY(f.texts("modalities"));
        !modalities.empty() && modalities != std::vector<std::string>{"text"})
      return fail(ErrorCode::kUnsupported, "'modalities' other than text are not supported");
    HADAL_CHECK_OK(f.refuse("functions", "it is the old form of 'tools'; send that"));
    HADAL_CHECK_OK(f.refuse("function_call", "it is the old form of 'tool_choice'; send that"));
    HADAL_CHECK_OK(f.refuse("audio", "this model neither hears nor speaks"));
    HADAL_CHECK_OK(f.refuse("web_search_options", "this server does not search"));
    f.report_unknown(ask.warnings);
    return ask;
  }

  std::unique_ptr<AnswerWriter> writer(std::shared_ptr<const Ask> ask, AnswerHead head) const override;
  Response error(int status, const Error& error, const std::string&) const override {
    return openai_error(status, error);
  }
};

Json logprob_json(const TokenLogprob& entry) {
  auto one = [](const std::string& bytes, double logprob) {
    Json j;
    j["token"] = bytes;
    j["logprob"] = logprob;
    j["bytes"] = Json::array();
    for (unsigned char c : bytes) j["bytes"].push_back(c);
    return j;
  };
  Json out = one(entry.bytes, entry.logprob);
  out["top_logprobs"] = Json::array();
  for (const auto& [bytes, logprob] : entry.top) out["top_logprobs"].push_back(one(bytes, logprob));
  return out;
}

class ChatWriter final : public AnswerWriter {
 public:
  ChatWriter(std::shared_ptr<const Ask> ask, AnswerHead head) : ask_(std::move(ask)), head_(std::move(head)) {}

  std::string begin() override {
    std::string out;
    for (std::int64_t i = 0; i < ask_->answers; ++i) {
      Json delta;
      delta["role"] = "assistant";
      delta["content"] = "";
      out += chunk(static_cast<std::size_t>(i), delta, nullptr, nullptr);
    }
    return out;
  }
  std::string step(std::size_t index, const Answer& answer, const AnswerStep& step) override {
    std::string out;
    Json logprobs = nullptr;
    if (!step.logprobs.empty()) {
      logprobs["content"] = Json::array();
      for (const TokenLogprob& entry : step.logprobs) logprobs["content"].push_back(logprob_json(entry));
    }
    for (const chat::Event& e : step.events) {
      Json delta = delta_of(e, answer);
      if (delta.is_null()) continue;
      const bool takes = e.kind == chat::Event::Kind::kContent;
      out += chunk(index, delta, takes ? std::exchange(logprobs, nullptr) : Json(nullptr), nullptr);
    }
    if (!logprobs.is_null()) out += chunk(index, Json{{"content", ""}}, logprobs, nullptr);
    return out;
  }
  std::string end(std::size_t index, const Answer& answer) override {
    return chunk(index, Json::object(), nullptr, openai_finish(answer.finish()));
  }
  std::string close(std::span<const std::unique_ptr<Answer>> answers) override {
    std::string out;
    if (ask_->stream_usage) {
      Json j = head("chat.completion.chunk");
      j["choices"] = Json::array();
      j["usage"] = openai_usage(answers);
      out = sse(dump(j));
    }
    return out + "data: [DONE]\n\n";
  }
  std::string broken(const Error& error) override { return sse(openai_error(500, error).body) + "data: [DONE]\n\n"; }

  std::string whole(std::span<const std::unique_ptr<Answer>> answers) override {
    Json j = head("chat.completion");
    j["choices"] = Json::array();
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const Answer& a = *answers[i];
      const chat::ParsedTurn& turn = a.turn();
      Json message;
      message["role"] = "assistant";
      Json calls = Json::array();
      for (std::size_t c = 0; c < turn.calls.size(); ++c) {
        if (!turn.calls[c].closed) continue;
        calls.push_back({{"id", a.call_id(static_cast<int>(c))},
                         {"type", "function"},
                         {"function", {{"name", turn.calls[c].name}, {"arguments", turn.calls[c].arguments}}}});
      }
      message["content"] = turn.content.empty() && !calls.empty() ? Json(nullptr) : Json(turn.content);
      if (ask_->thinking) message["reasoning_content"] = turn.reasoning;
      message["refusal"] = nullptr;
      if (!calls.empty()) message["tool_calls"] = std::move(calls);
      Json logprobs = nullptr;
      if (ask_->logprobs) {
        logprobs = Json{{"content", Json::array()}, {"refusal", nullptr}};
        for (const TokenLogprob& entry : a.logprobs()) logprobs["content"].push_back(logprob_json(entry));
      }
      Json choice;
      choice["index"] = i;
      choice["message"] = std::move(message);
      choice["logprobs"] = std::move(logprobs);
      choice["finish_reason"] = openai_finish(a.finish());
      j["choices"].push_back(std::move(choice));
    }
    j["usage"] = openai_usage(answers);
    return dump(j);
  }

 private:
  Json head(const char* object) const {
    Json j;
    j["id"] = "chatcmpl-" + head_.id;
    j["object"] = object;
    j["created"] = head_.created;
    j["model"] = head_.model;
    return j;
  }
  std::string chunk(std::size_t index, const Json& delta, const Json& logprobs, const Json& finish) const {
    Json j = head("chat.completion.chunk");
    Json choice;
    choice["index"] = index;
    choice["delta"] = delta;
    choice["logprobs"] = logprobs;
    choice["finish_reason"] = finish;
    j["choices"] = Json::array({std::move(choice)});
    return sse(dump(j));
  }
  static Json delta_of(const chat::Event& e, const Answer& answer) {
    using K = chat::Event::Kind;
    auto call = [&](Json function) { return Json{{"index", e.call}, {"function", std::move(function)}}; };
    switch (e.kind) {
      case K::kReasoning:
        return Json{{"reasoning_content", e.text}};
      case K::kContent:
        return Json{{"content", e.text}};
      case K::kCallOpened: {
        Json one;
        one["index"] = e.call;
        one["id"] = answer.call_id(e.call);
        one["type"] = "function";
        one["function"] = {{"name", e.text}, {"arguments", ""}};
        return Json{{"tool_calls", Json::array({std::move(one)})}};
      }
      case K::kArguments:
        return Json{{"tool_calls", Json::array({call(Json{{"arguments", e.text}})})}};
      default:
        return nullptr;
    }
  }

  std::shared_ptr<const Ask> ask_;
  AnswerHead head_;
};

std::unique_ptr<AnswerWriter> ChatDialect::writer(std::shared_ptr<const Ask> ask, AnswerHead head) const {
  return std::make_unique<ChatWriter>(std::move(ask), std::move(head));
}

}  // namespace

const Dialect& openai_chat() {
  static const ChatDialect dialect;
  return dialect;
}

}  // namespace hadal::serve
