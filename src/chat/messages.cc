#include "chat/messages.h"

#include <utility>

namespace hadal::chat {

void normalise(std::vector<Message>& messages) {
  for (Message& message : messages) {
    if (!message.content) message.content = "";
    for (ToolCall& call : message.tool_calls) {
      if (call.arguments.find_first_not_of(" \t\r\n") == std::string::npos || call.arguments == "null")
        call.arguments = "{}";
    }
  }
}

void declare(std::vector<Message>& messages, std::vector<ToolSchema> tools, std::string response_format) {
  if (tools.empty() && response_format.empty()) return;
  bool carries = !messages.empty() && (messages[0].role == Role::kSystem || messages[0].role == Role::kDeveloper);
  if (!carries) {
    Message system;
    system.role = Role::kSystem;
    messages.insert(messages.begin(), std::move(system));
  }
  messages[0].tools = std::move(tools);
  messages[0].response_format = std::move(response_format);
}

}  // namespace hadal::chat
