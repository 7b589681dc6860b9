// Python literals that models write where JSON belongs: True, None, 'single quotes', (tuples).
#pragma once

#include <string_view>

#include "base/result.h"
#include "chat/python_json.h"

namespace hadal::chat {

// Reads one Python literal of the kinds JSON can hold: None, booleans, decimal numbers, strings in either quote, lists,
// tuples (as lists) and dicts with string keys. kBadInput for anything else, sets, bytes and f-strings included. JSON's
// own words are read too, so a text that mixes both is understood.
Result<JsonValue> parse_python_literal(std::string_view text);

}  // namespace hadal::chat
