#include "serve/conversation.h"

#include <algorithm>
#include <set>

namespace hadal::serve {
namespace {

using Kind = JsonValue::Kind;
using chat::Message;
using chat::Role;

bool is_text_type(std::string_view type) { return type == "text" || type == "input_text" || type == "output_text"; }

bool is_instruction(const Message& m) { return m.role == Role::kSystem || m.role == Role::kDeveloper; }

}  // namespace

Result<std::string> text_of(const JsonValue* content, const std::string& path, std::vector<std::string>& warnings) {
  if (!content || content->is(Kind::kNull)) return std::string();
  if (content->is(Kind::kString)) return content->text;
  if (!content->is(Kind::kArray)) return fail(ErrorCode::kUsage, "'{}' must be a string or a list of parts", path);
  std::string out;
  for (std::size_t i = 0; i < content->items.size(); ++i) {
    const std::string here = fmt::format("{}[{}]", path, i);
    Fields part = HADAL_TRY(Fields::of(content->items[i], here));
    const std::string type = HADAL_TRY(part.required_text("type"));
    if (is_text_type(type))
      out += HADAL_TRY(part.required_text("text"));
    else if (type == "refusal")
      out += HADAL_TRY(part.required_text("refusal"));
    else
      return fail(ErrorCode::kUnsupported, "'{}' is a part of type '{}'; this model reads text only", here, type);
    part.pass({"annotations", "logprobs", "cache_control", "citations"});
    part.report_unknown(warnings);
  }
  return out;
}

Result<Message> tool_result(const JsonValue* content, std::string id, const std::string& path) {
  Message out;
  out.role = Role::kTool;
  out.tool_call_id = std::move(id);
  if (!content || content->is(Kind::kNull)) return out;
  if (content->is(Kind::kString)) {
    out.content = content->text;
    return out;
  }
  if (!content->is(Kind::kArray)) return fail(ErrorCode::kUsage, "'{}' must be a string or a list of parts", path);
  for (std::size_t i = 0; i < content->items.size(); ++i) {
    Fields part = HADAL_TRY(Fields::of(content->items[i], fmt::format("{}[{}]", path, i)));
    const std::string type = HADAL_TRY(part.required_text("type"));
    if (is_text_type(type))
      out.blocks.push_back({chat::ContentBlock::Kind::kText, HADAL_TRY(part.required_text("text"))});
    else
      out.blocks.push_back({chat::ContentBlock::Kind::kUnsupported, type});
  }
  return out;
}

Result<chat::ToolSchema> tool_schema(std::string_view function_json, const std::string& path) {
  const JsonValue function = HADAL_TRY(chat::parse_json(function_json));
  const JsonValue* name = function.find("name");
  if (!name || !name->is(Kind::kString) || name->text.empty())
    return fail(ErrorCode::kUsage, "'{}.name' is missing; the model could not call the tool", path);
  const JsonValue* parameters = function.find("parameters");
  if (parameters && !parameters->is(Kind::kObject) && !parameters->is(Kind::kNull))
    return fail(ErrorCode::kUsage, "'{}.parameters' must be a JSON schema, an object", path);
  return chat::ToolSchema{std::string(function_json)};
}

Status settle(std::vector<Message>& messages) {
  if (messages.empty()) return fail(ErrorCode::kUsage, "'messages' is empty; send at least one message");
  std::vector<Message> out;
  std::size_t at = 0;
  for (; at < messages.size() && is_instruction(messages[at]); ++at) {
    if (out.empty()) {
      out.push_back(std::move(messages[at]));
      out[0].role = Role::kSystem;
    } else {
      std::string& text = *out[0].content;
      if (!text.empty() && !messages[at].content.value_or("").empty()) text += "\n\n";
      text += messages[at].content.value_or("");
    }
  }
  std::set<std::string> open;  // calls without a result yet
  std::set<std::string> answered;
  auto all_answered = [&]() -> Status {
    if (open.empty()) return {};
    return fail(
        ErrorCode::kUsage,
        "'messages' has a tool call '{}' without a result; every call needs one tool message with its id before "
        "the conversation goes on",
        *open.begin());
  };
  for (; at < messages.size(); ++at) {
    Message& m = messages[at];
    if (is_instruction(m)) m.role = Role::kUser;
    if (m.role == Role::kTool) {
      if (m.tool_call_id.empty()) return fail(ErrorCode::kUsage, "'messages[{}].tool_call_id' is missing", at);
      if (!open.erase(m.tool_call_id))
        return fail(ErrorCode::kUsage, "'messages[{}]' is a tool result for '{}', which {}", at, m.tool_call_id,
                    answered.contains(m.tool_call_id) ? "has a result already"
                                                      : "no call of the assistant message before it has as its id");
      answered.insert(m.tool_call_id);
    } else if (m.role == Role::kAssistant && !out.empty() && out.back().role == Role::kAssistant &&
               !out.back().wo_eos) {
      Message& last = out.back();
      last.reasoning_content += m.reasoning_content;
      if (m.content && !m.content->empty()) *last.content += (last.content->empty() ? "" : "\n\n") + *m.content;
      for (auto& call : m.tool_calls) last.tool_calls.push_back(std::move(call));
      last.wo_eos = m.wo_eos;
      last.sampled.clear();  // of a part only
      for (const auto& call : last.tool_calls) open.insert(call.id);
      continue;
    } else if (m.role == Role::kAssistant) {
      HADAL_CHECK_OK(all_answered());
      answered.clear();
      for (const auto& call : m.tool_calls) {
        if (call.id.empty()) return fail(ErrorCode::kUsage, "'messages[{}].tool_calls' has a call without an id", at);
        if (!open.insert(call.id).second)
          return fail(ErrorCode::kUsage, "'messages[{}].tool_calls' has two calls with the id '{}'", at, call.id);
      }
    }
    out.push_back(std::move(m));
  }
  HADAL_CHECK_OK(all_answered());
  messages = std::move(out);
  chat::normalise(messages);
  return {};
}

}  // namespace hadal::serve
