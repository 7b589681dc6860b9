// The reference's JSON form of messages (near to OpenAI's): what `hadal chat` and the golden files speak.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/messages.h"
#include "chat/python_json.h"

namespace hadal::chat {

// Reads a JSON list of messages; `source` is the text `list` was parsed from, so that schemas keep their bytes.
// `type_error` where a field has a type the reference cannot render.
Result<std::vector<Message>> messages_from_json(const JsonValue& list, std::string_view source);

// Tool declarations: a JSON list of {"type": "function", "function": {...}}.
Result<std::vector<ToolSchema>> tools_from_json(const JsonValue& list, std::string_view source);

// {"role": "assistant", "content", "reasoning_content", "tool_calls": [...]}, as strict parsing gives it.
std::string assistant_json(const Message& message);

}  // namespace hadal::chat
