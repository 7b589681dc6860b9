// What all APIs do to a client's messages before the codec sees them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/messages.h"
#include "serve/ask.h"
#include "serve/fields.h"

namespace hadal::serve {

// Text content: a string, null, or a list of parts of type `text`, `input_text` or `output_text`, joined without a
// separator (clients cut one text into parts). kUnsupported for other parts, by the path of the part.
Result<std::string> text_of(const JsonValue* content, const std::string& path, std::vector<std::string>& warnings);

// The same for a tool's result, whose parts of other types become "[Unsupported TYPE]" as in training.
Result<chat::Message> tool_result(const JsonValue* content, std::string id, const std::string& path);

// A function as OpenAI declares it: the raw JSON of the `function` object is what the model is shown.
Result<chat::ToolSchema> tool_schema(std::string_view function_json, const std::string& path);

// Brings a conversation into the shape the model was trained on, and refuses one that cannot be:
//   system and developer messages at the start become one system message; later ones become text of the user turn they
//   stand in, because a system message in mid-conversation would displace the assistant's header;
//   neighbouring assistant messages (an answer's text and calls sent as items) become one;
//   every tool result must answer a call of the assistant message before it, and every call must be answered once.
Status settle(std::vector<chat::Message>& messages);

}  // namespace hadal::serve
