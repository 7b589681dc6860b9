// What OpenAI's APIs have in common.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "serve/answer.h"
#include "serve/ask.h"
#include "serve/fields.h"

namespace hadal::serve {

// One line; bytes that are not UTF-8 (half a character in a token's text) become U+FFFD.
std::string dump(const nlohmann::ordered_json& json);

Status read_sampling(Fields& f, Ask& ask);     // temperature to n, stop, seed, stream, and what is passed over
Status read_tool_choice(Fields& f, Ask& ask);  // tool_choice and parallel_tool_calls

// Chat Completions' 'messages' (absent: none) and 'tools', as the native API takes them too.
Status read_chat_messages(Fields& f, std::string_view source, Ask& ask);
Status read_chat_tools(Fields& f, std::string_view source, Ask& ask);

const char* openai_finish(Finish finish);
nlohmann::ordered_json openai_usage(std::span<const std::unique_ptr<Answer>> answers);

}  // namespace hadal::serve
