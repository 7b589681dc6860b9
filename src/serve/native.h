// The native dialect: what /v1/sessions takes and how its answers are written (docs/sessions-api.md).
#pragma once

#include <string>
#include <string_view>

#include "serve/dialect.h"

namespace hadal::serve {

struct NewSession {
  std::string id, title;
  Ask ask;  // messages and tools it begins with
};
Result<NewSession> read_new_session(const JsonValue& body, std::string_view source);

// {"messages": [...]}, and nothing else.
Result<Ask> read_appended(const JsonValue& body, std::string_view source);

// read() gives what the client appends; the session's past is put before it by Sessions::complete.
const Dialect& native_sessions();
// Writes the answer of a Quick Instruction alone; reads nothing.
const Dialect& quick_instructions();

}  // namespace hadal::serve
