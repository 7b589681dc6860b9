// Reading a client's JSON object: every field has a type, and one that nobody read is unknown.
//
// Errors name the field by its path, quoted and first: "'messages[2].content' must be a string". A null counts as
// absent.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/python_json.h"

namespace hadal::serve {

using chat::JsonValue;

// Parses a request's body. kBadInput: not JSON, not UTF-8, not an object, or more values than a request can need.
Result<JsonValue> parse_body(std::string_view body);

class Fields {
 public:
  // `path` is put before every name: "", "messages[2]", "tools[0].function".
  static Result<Fields> of(const JsonValue& value, std::string path);

  const JsonValue* get(std::string_view key);  // null when absent; counts as read
  bool has(std::string_view key) const;
  Result<std::optional<std::string>> text(std::string_view key);
  Result<std::string> required_text(std::string_view key);
  Result<std::optional<double>> number(std::string_view key);
  Result<std::optional<std::int64_t>> integer(std::string_view key, std::int64_t least, std::int64_t most);
  Result<std::optional<bool>> flag(std::string_view key);
  Result<std::vector<std::string>> texts(std::string_view key);      // a string or a list of strings; empty when absent
  Result<const std::vector<JsonValue>*> list(std::string_view key);  // null when absent
  Result<std::optional<Fields>> object(std::string_view key);

  // Fields that mean nothing here and change nothing, whatever they hold.
  void pass(std::initializer_list<std::string_view> keys);
  // kUnsupported when the field is there and not one of false, 0, "" and empty lists, which ask for nothing.
  Status refuse(std::string_view key, std::string_view why);

  std::string path(std::string_view key) const {
    return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  }
  std::string path(std::string_view key, std::size_t index) const;
  std::unexpected<Error> wrong(std::string_view key, std::string_view must) const;
  // Appends "unknown field 'x'" for what was never asked for.
  void report_unknown(std::vector<std::string>& warnings) const;

 private:
  Fields(const JsonValue* object, std::string path) : object_(object), path_(std::move(path)) {}
  const JsonValue* object_;
  std::string path_;
  std::vector<const JsonValue*> read_;
};

// The field an error's sentence is about, or "": what stands between the quotes it begins with.
std::string_view field_of(const Error& error);

}  // namespace hadal::serve
