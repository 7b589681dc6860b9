// Names of the ways a conversation or a completion can be wrong: those of the reference encoder, so that conformance
// tests can compare them. Such an Error's sentence begins with the name and a colon.
#pragma once

#include <array>
#include <string_view>

#include "base/result.h"

namespace hadal::chat {

inline constexpr std::array<std::string_view, 20> kErrorNames = {
    // rendering
    "unsupported_encoder", "invalid_thinking_mode", "invalid_reasoning_effort", "unknown_role", "empty_developer",
    "invalid_task", "type_error",
    // strict parsing
    "missing_think_end", "missing_eos", "tool_block_format", "missing_tool_tag", "tool_name_format", "parameter_format",
    "duplicate_parameter", "content_after_tool_calls", "trailing_content", "special_token_in_content",
    // reading messages from JSON
    "malformed_json", "malformed_message", "malformed_options"};

// The name an error of this folder begins with, or "" for another error.
inline std::string_view error_name(const Error& error) {
  for (std::string_view name : kErrorNames) {
    std::string_view what = error.what;
    if (what.starts_with(name) && what.substr(name.size()).starts_with(": ")) return name;
  }
  return "";
}

}  // namespace hadal::chat
