// JSON as the model saw it in training: read like Python's json.loads, written like json.dumps(ensure_ascii=False).
//
// A general JSON library does not do: the text must keep key order and arbitrarily long integers, respell floats in
// Python's layout (1e-05, 1e+16, 100000.0), give a repeated key its last value at its first place, and accept NaN and
// the infinities. Source: chat-format specification 3.4; CPython's json module.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::chat {

inline constexpr int kMaxJsonDepth = 512;  // nested arrays and objects; deeper input is refused, not recursed into

struct JsonMember;

// A parsed value. Small documents only (schemas, messages): one node per value, strings owned.
struct JsonValue {
  enum class Kind { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };
  Kind kind = Kind::kNull;
  std::string text;                 // kString: decoded UTF-8. kNumber: in Python's spelling, for example 1e-05
  std::vector<JsonValue> items;     // kArray
  std::vector<JsonMember> members;  // kObject, keys unique, in order of first appearance
  std::size_t begin = 0, end = 0;   // the value's bytes in the source text

  bool is(Kind k) const { return kind == k; }
  const JsonValue* find(std::string_view key) const;  // the member's value, or nullptr; nullptr on a non-object
  // False for what Python's `if value:` calls false: null, false, zero, and the empty string, list and object.
  bool truthy() const;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

// Reads one JSON value with optional blanks around it. kBadInput with the byte offset on anything json.loads refuses,
// on invalid UTF-8 and on nesting past kMaxJsonDepth. A lone \uD800-\uDFFF escape, which UTF-8 cannot hold, becomes
// U+FFFD.
Result<JsonValue> parse_json(std::string_view text);

// json.dumps(value, ensure_ascii=False).
std::string python_json(const JsonValue& value);
void append_python_json(std::string& out, const JsonValue& value);

// parse_json then python_json: the trained spelling of a raw JSON text.
Result<std::string> respell_json(std::string_view raw);

// The inside of a JSON string literal, without the quotes. Only the quote, the backslash and U+0000-U+001F are escaped,
// so pieces of a text may be escaped one by one and joined.
void append_json_escaped(std::string& out, std::string_view utf8);
std::string json_string(std::string_view utf8);  // with the quotes

// repr() of a finite double, or NaN, Infinity, -Infinity.
std::string python_float(double value);

}  // namespace hadal::chat
