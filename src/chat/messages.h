// A conversation as the codec takes it and gives it back. Plain data: no field is trimmed, escaped or reordered.
//
// Two layers stand above: message_json.h reads the reference's JSON form, and each HTTP API maps its own.
// Source: chat-format specification 3.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace hadal::chat {

enum class Role {
  kSystem,
  kDeveloper,
  kUser,
  kAssistant,
  kTool,  // exists before merging only: a result becomes part of a user turn
  kLatestReminder,
  kDirectSearchResults,  // survives dropping, and is then refused as an unknown role
  kUnknown,              // refused where it would be rendered; see Message::role_name
};

// One piece of a user turn or of a tool result given as a list.
struct ContentBlock {
  enum class Kind { kText, kUnsupported };
  Kind kind = Kind::kText;
  std::string text;  // kText: the text. kUnsupported: the name of its type, which is rendered in its place
};

struct ToolCall {
  std::string id;  // may be empty; matches Message::tool_call_id of its result
  std::string name;
  std::string arguments;  // JSON text. The model spelled it, or a client: it may be anything
};

// A declared tool: the JSON of its `function` object as the client wrote it. Key order and unknown keys are rendered.
struct ToolSchema {
  std::string function_json;
};

struct Message {
  Role role = Role::kUser;
  std::string role_name;  // for error messages when role is kUnknown

  // The text. Null is not empty: the reference renders a null tool result as "None" and refuses a null user text.
  // A server maps null to "" before it gets here.
  std::optional<std::string> content = "";
  std::vector<ContentBlock> blocks;  // kTool only: a list-valued result, used instead of content when not empty

  std::string reasoning_content;     // kAssistant
  std::vector<ToolCall> tool_calls;  // kAssistant
  std::string tool_call_id;          // kTool
  std::vector<ToolSchema> tools;     // rendered on kSystem and kDeveloper; on any role but kUser it keeps reasoning
  std::string response_format;       // kSystem and kDeveloper: raw JSON, or empty for none
  std::optional<std::string> task;   // one of the six internal tasks, or none; "" counts as set
  bool wo_eos = false;               // kAssistant: leave the turn open for continuation
  // kAssistant, with wo_eos: the reasoning itself is unfinished, so no </think> follows it. Not in the reference.
  bool open_reasoning = false;
  // kAssistant: the turn as it was sampled, from the token that opened it, where the caller knows (chat/replay.h).
  std::vector<TokenId> sampled = {};
};

// What a server does to a client's conversation before rendering it. The reference does none of this.

// A null text becomes an empty one; missing, empty or null arguments become an empty object.
void normalise(std::vector<Message>& messages);

// Attaches what a request declares to the first message if that is system or developer, else to an empty system message
// put in front of it. `response_format` is raw JSON, or empty.
void declare(std::vector<Message>& messages, std::vector<ToolSchema> tools, std::string response_format);

}  // namespace hadal::chat
