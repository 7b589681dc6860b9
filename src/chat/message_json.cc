#include "chat/message_json.h"

#include <array>
#include <utility>

namespace hadal::chat {
namespace {

using Kind = JsonValue::Kind;

constexpr std::array<std::pair<std::string_view, Role>, 7> kRoles = {
    {{"system", Role::kSystem},
     {"developer", Role::kDeveloper},
     {"user", Role::kUser},
     {"assistant", Role::kAssistant},
     {"tool", Role::kTool},
     {"latest_reminder", Role::kLatestReminder},
     {"direct_search_results", Role::kDirectSearchResults}}};

std::string_view raw(const JsonValue& value, std::string_view source) {
  return source.substr(value.begin, value.end - value.begin);
}

std::unexpected<Error> wrong_type(std::string_view what, std::string_view expected) {
  return fail(ErrorCode::kBadInput, "type_error: {} must be {}", what, expected);
}

// A string field; absent and null give "".
Result<std::string> text_of(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  if (!value || value->is(Kind::kNull)) return "";
  if (!value->is(Kind::kString)) return wrong_type(key, "a string");
  return value->text;
}

Result<std::vector<ContentBlock>> result_blocks(const JsonValue& list) {
  std::vector<ContentBlock> blocks;
  for (const JsonValue& item : list.items) {
    if (!item.is(Kind::kObject)) return wrong_type("an item of a tool result", "an object");
    const JsonValue* type = item.find("type");
    if (type && type->is(Kind::kString) && type->text == "text") {
      const JsonValue* text = item.find("text");
      if (text && !text->is(Kind::kString)) return wrong_type("the text of a tool result", "a string");
      blocks.push_back({ContentBlock::Kind::kText, text ? text->text : ""});
    } else {
      if (type && !type->is(Kind::kString) && !type->is(Kind::kNull)) return wrong_type("a block's type", "a string");
      blocks.push_back({ContentBlock::Kind::kUnsupported, type && type->is(Kind::kString) ? type->text : "None"});
    }
  }
  return blocks;
}

Result<std::vector<ToolCall>> calls_from_json(const JsonValue& list) {
  if (list.is(Kind::kNull)) return std::vector<ToolCall>{};
  if (!list.is(Kind::kArray)) return wrong_type("tool_calls", "a list");
  std::vector<ToolCall> calls;
  for (const JsonValue& item : list.items) {
    const JsonValue* function = item.find("function");
    if (!function || !function->is(Kind::kObject)) return wrong_type("the function of a tool call", "an object");
    const JsonValue* name = function->find("name");
    const JsonValue* arguments = function->find("arguments");
    if (!name || !name->is(Kind::kString)) return wrong_type("the name of a tool call", "a string");
    if (!arguments || !arguments->is(Kind::kString)) return wrong_type("the arguments of a tool call", "a string");
    std::string id = HADAL_TRY(text_of(item, "id"));
    if (id.empty()) id = HADAL_TRY(text_of(*function, "id"));
    calls.push_back({std::move(id), name->text, arguments->text});
  }
  return calls;
}

Result<Message> message_from_json(const JsonValue& object, std::string_view source) {
  if (!object.is(Kind::kObject)) return wrong_type("a message", "an object");
  Message message;
  message.role_name = HADAL_TRY(text_of(object, "role"));
  message.role = Role::kUnknown;
  for (auto [name, role] : kRoles) {
    if (message.role_name == name) message.role = role;
  }
  if (const JsonValue* content = object.find("content")) {
    if (content->is(Kind::kNull)) {
      message.content = std::nullopt;
    } else if (content->is(Kind::kString)) {
      message.content = content->text;
    } else if (content->is(Kind::kArray) && message.role == Role::kTool) {
      message.content = "";
      message.blocks = HADAL_TRY(result_blocks(*content));
    } else if (message.role != Role::kUnknown) {
      return wrong_type("content", "a string");
    }
  }
  message.reasoning_content = HADAL_TRY(text_of(object, "reasoning_content"));
  message.tool_call_id = HADAL_TRY(text_of(object, "tool_call_id"));
  if (const JsonValue* calls = object.find("tool_calls")) message.tool_calls = HADAL_TRY(calls_from_json(*calls));
  if (const JsonValue* tools = object.find("tools"); tools && message.role != Role::kUser) {
    message.tools = HADAL_TRY(tools_from_json(*tools, source));
  }
  if (const JsonValue* format = object.find("response_format"); format && format->truthy()) {
    message.response_format = raw(*format, source);
  }
  if (const JsonValue* task = object.find("task"); task && !task->is(Kind::kNull))
    message.task = HADAL_TRY(text_of(object, "task"));
  if (const JsonValue* open = object.find("wo_eos")) message.wo_eos = open->truthy();
  return message;
}

}  // namespace

Result<std::vector<ToolSchema>> tools_from_json(const JsonValue& list, std::string_view source) {
  std::vector<ToolSchema> tools;
  if (list.is(Kind::kNull)) return tools;
  if (!list.is(Kind::kArray)) return wrong_type("tools", "a list");
  for (const JsonValue& item : list.items) {
    const JsonValue* function = item.find("function");
    if (!function) return wrong_type("a tool", "an object with a 'function'");
    tools.push_back({std::string(raw(*function, source))});
  }
  return tools;
}

Result<std::vector<Message>> messages_from_json(const JsonValue& list, std::string_view source) {
  if (!list.is(Kind::kArray)) return wrong_type("messages", "a list");
  std::vector<Message> messages;
  for (const JsonValue& item : list.items) {
    auto message = message_from_json(item, source);
    if (!message) {
      // Keep the name in front; say which message.
      return fail(message.error().code, "{} (message {})", message.error().what, messages.size());
    }
    messages.push_back(std::move(*message));
  }
  return messages;
}

std::string assistant_json(const Message& message) {
  std::string out = "{\"role\": \"assistant\", \"content\": " + json_string(message.content.value_or(""));
  out += ", \"reasoning_content\": " + json_string(message.reasoning_content) + ", \"tool_calls\": [";
  for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
    const ToolCall& call = message.tool_calls[i];
    if (i > 0) out += ", ";
    out += "{\"type\": \"function\", \"function\": {\"name\": " + json_string(call.name) +
           ", \"arguments\": " + json_string(call.arguments) + "}}";
  }
  return out + "]}";
}

}  // namespace hadal::chat
