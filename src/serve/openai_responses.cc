// OpenAI Responses: what a client sends. Nothing is stored, so every request brings its whole input.
#include <nlohmann/json.hpp>

#include "chat/python_json.h"
#include "serve/conversation.h"
#include "serve/openai.h"
#include "serve/responses.h"

namespace hadal::serve {
namespace {

using Kind = JsonValue::Kind;
using chat::Message;
using chat::Role;

std::string raw(std::string_view source, const JsonValue& v) {
  return std::string(source.substr(v.begin, v.end - v.begin));
}

Message empty_assistant() {
  Message m;
  m.role = Role::kAssistant;
  return m;
}

// Items of one answer stand side by side and become one message; settle() joins what is left apart.
Message& assistant(std::vector<Message>& messages) {
  if (messages.empty() || messages.back().role != Role::kAssistant) messages.push_back(empty_assistant());
  return messages.back();
}

Status read_reasoning(Fields& f, Message& into) {
  for (std::string_view key : {"content", "summary"}) {
    const auto* list = HADAL_TRY(f.list(key));
    if (!list || list->empty()) continue;
    std::string text;
    for (std::size_t i = 0; i < list->size(); ++i) {
      Fields part = HADAL_TRY(Fields::of((*list)[i], f.path(key, i)));
      text += HADAL_TRY(part.required_text("text"));
    }
    into.reasoning_content = text;  // the content is the whole; a summary counts only without it
    break;
  }
  f.pass({"summary", "content", "encrypted_content", "status", "id"});
  return {};
}

Status read_item(const JsonValue& value, std::size_t index, Ask& ask) {
  Fields f = HADAL_TRY(Fields::of(value, fmt::format("input[{}]", index)));
  const std::string type = HADAL_TRY(f.text("type")).value_or("message");
  if (type == "message") {
    const std::string role = HADAL_TRY(f.required_text("role"));
    Message m;
    m.content = HADAL_TRY(text_of(f.get("content"), f.path("content"), ask.warnings));
    if (role == "assistant") {
      Message& last = assistant(ask.messages);
      if (!last.content->empty()) *last.content += "\n\n";
      *last.content += *m.content;
    } else {
      if (role != "user" && role != "system" && role != "developer")
        return f.wrong("role", fmt::format("one of system, developer, user and assistant, not '{}'", role));
      m.role = role == "user" ? Role::kUser : role == "system" ? Role::kSystem : Role::kDeveloper;
      ask.messages.push_back(std::move(m));
    }
    f.pass({"id", "status", "phase"});
  } else if (type == "reasoning") {
    // Reasoning begins an answer, unless calls follow text of the same one.
    if (!ask.messages.empty() && ask.messages.back().role == Role::kAssistant)
      ask.messages.push_back(empty_assistant());
    HADAL_CHECK_OK(read_reasoning(f, assistant(ask.messages)));
  } else if (type == "function_call") {
    chat::ToolCall call;
    call.id = HADAL_TRY(f.required_text("call_id"));
    call.name = HADAL_TRY(f.required_text("name"));
    call.arguments = HADAL_TRY(f.text("arguments")).value_or("{}");
    assistant(ask.messages).tool_calls.push_back(std::move(call));
    f.pass({"id", "status", "namespace"});
  } else if (type == "function_call_output") {
    const std::string id = HADAL_TRY(f.required_text("call_id"));
    ask.messages.push_back(HADAL_TRY(tool_result(f.get("output"), id, f.path("output"))));
    f.pass({"id", "status"});
  } else if (type == "item_reference") {
    return fail(ErrorCode::kUnsupported,
                "'input[{}]' refers to a stored item; nothing is stored here, send the item itself", index);
  } else {
    return fail(ErrorCode::kUnsupported, "'input[{}]' is an item of type '{}', which is not supported", index, type);
  }
  f.report_unknown(ask.warnings);
  return {};
}

Status read_tools(Fields& f, std::string_view source, Ask& ask) {
  const auto* tools = HADAL_TRY(f.list("tools"));
  for (std::size_t i = 0; tools && i < tools->size(); ++i) {
    Fields t = HADAL_TRY(Fields::of((*tools)[i], f.path("tools", i)));
    const std::string type = HADAL_TRY(t.required_text("type"));
    if (type != "function") {
      ask.warnings.push_back(fmt::format("'{}' is a tool of type '{}', which was left out", f.path("tools", i), type));
      continue;
    }
    // Chat Completions' form, which is what the model was trained to read.
    std::string function = "{\"name\": " + chat::json_string(HADAL_TRY(t.required_text("name")));
    if (auto description = HADAL_TRY(t.text("description")))
      function += ", \"description\": " + chat::json_string(*description);
    if (const JsonValue* parameters = t.get("parameters")) function += ", \"parameters\": " + raw(source, *parameters);
    ask.tools.push_back(HADAL_TRY(tool_schema(function + "}", f.path("tools", i))));
    t.pass({"strict", "defer_loading"});
    t.report_unknown(ask.warnings);
  }
  return read_tool_choice(f, ask);
}

// Fields an answer repeats, in the client's own spelling.
std::string echo(const JsonValue& body, std::string_view source) {
  std::string out;
  constexpr std::pair<std::string_view, std::string_view> kFields[] = {{"instructions", "null"},
                                                                       {"max_output_tokens", "null"},
                                                                       {"metadata", "{}"},
                                                                       {"parallel_tool_calls", "true"},
                                                                       {"previous_response_id", "null"},
                                                                       {"temperature", "1.0"},
                                                                       {"tool_choice", "\"auto\""},
                                                                       {"tools", "[]"},
                                                                       {"top_p", "1.0"},
                                                                       {"truncation", "\"disabled\""},
                                                                       {"user", "null"},
                                                                       {"reasoning", "{}"},
                                                                       {"text", "{\"format\":{\"type\":\"text\"}}"},
                                                                       {"store", "false"}};
  for (const auto& [key, otherwise] : kFields) {
    const JsonValue* v = body.find(key);
    out += (out.empty() ? "\"" : ",\"") + std::string(key) +
           "\":" + (key == "store" || !v || v->is(Kind::kNull) ? std::string(otherwise) : raw(source, *v));
  }
  return out;
}

class Responses final : public Dialect {
 public:
  Result<Ask> read(const JsonValue& body, std::string_view source) const override {
    Ask ask;
    Fields f = HADAL_TRY(Fields::of(body, ""));
    if (auto instructions = HADAL_TRY(f.text("instructions"))) {
      Message m;
      m.role = Role::kSystem;
      m.content = *instructions;
      ask.messages.push_back(std::move(m));
    }
    const JsonValue* input = f.get("input");
    if (!input) return fail(ErrorCode::kUsage, "'input' is missing; it must be a string or a list of items");
    if (input->is(Kind::kString)) {
      Message m;
      m.content = input->text;
      ask.messages.push_back(std::move(m));
    } else if (input->is(Kind::kArray)) {
      for (std::size_t i = 0; i < input->items.size(); ++i) HADAL_CHECK_OK(read_item(input->items[i], i, ask));
    } else {
      return f.wrong("input", "a string or a list of items");
    }
    HADAL_CHECK_OK(read_tools(f, source, ask));
    HADAL_CHECK_OK(read_sampling(f, ask));
    if (ask.answers != 1) return fail(ErrorCode::kUnsupported, "'n' is not a field of this API");
    if (auto reasoning = HADAL_TRY(f.object("reasoning"))) {
      ask.effort = HADAL_TRY(reasoning->text("effort")).value_or("");
      reasoning->pass({"summary", "generate_summary", "context"});
      reasoning->report_unknown(ask.warnings);
    }
    ask.max_tokens = HADAL_TRY(f.integer("max_output_tokens", 1, INT64_MAX)).value_or(-1);
    if (auto text = HADAL_TRY(f.object("text"))) {
      if (auto format = HADAL_TRY(text->object("format"))) {
        const std::string type = HADAL_TRY(format->required_text("type"));
        if (type != "text")
          return fail(ErrorCode::kUnsupported,
                      "'text.format' of type '{}' is not supported: answers cannot be held to a schema", type);
      }
      text->pass({"verbosity"});
      text->report_unknown(ask.warnings);
    }
    for (const std::string& what : HADAL_TRY(f.texts("include"))) {
      if (what == "message.output_text.logprobs")
        ask.logprobs = true;
      else if (what != "reasoning.encrypted_content")
        ask.warnings.push_back(fmt::format("'include' asks for '{}', which does not exist here", what));
    }
    ask.top_logprobs = static_cast<int>(HADAL_TRY(f.integer("top_logprobs", 0, 20)).value_or(0));
    if (ask.top_logprobs > 0) ask.logprobs = true;
    if (auto truncation = HADAL_TRY(f.text("truncation")); truncation && *truncation != "disabled")
      ask.warnings.push_back("'truncation' is not done; an input that does not fit is refused");
    HADAL_CHECK_OK(f.refuse("previous_response_id", "nothing is stored here; send the whole input"));
    HADAL_CHECK_OK(f.refuse("conversation", "nothing is stored here; send the whole input"));
    HADAL_CHECK_OK(f.refuse("prompt", "there are no stored prompts here; send the input itself"));
    HADAL_CHECK_OK(f.refuse("background", "send the header X-Hadal-Detach instead"));
    f.pass({"max_tool_calls", "client_metadata"});
    f.report_unknown(ask.warnings);
    ask.echoed = echo(body, source);
    return ask;
  }
  std::unique_ptr<AnswerWriter> writer(std::shared_ptr<const Ask> ask, AnswerHead head) const override {
    return responses_writer(std::move(ask), std::move(head));
  }
  Response error(int status, const Error& error, const std::string&) const override {
    return openai_error(status, error);
  }
};

}  // namespace

const Dialect& openai_responses() {
  static const Responses dialect;
  return dialect;
}

}  // namespace hadal::serve
