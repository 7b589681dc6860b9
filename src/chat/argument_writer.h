// One call's arguments as JSON text, written while the call is still being generated, with lossless repairs.
//
// Without a tool table the text is what the published parser streams: string values escaped, others verbatim. With one,
// a value that may need repair is held until it is complete: a few words, usually. Long strings, file contents above
// all, always stream. Source: chat-format specification 7, recommended policy.
#pragma once

#include <string>
#include <string_view>

#include "chat/tool_types.h"

namespace hadal::chat {

enum class ArgumentsVerdict {
  kGood,      // valid JSON as the model wrote it
  kRepaired,  // valid JSON after a repair
  kInvalid,   // a value is not JSON and could not be repaired: passed through
  kMissing,   // valid JSON, but a required argument is absent
};

class ArgumentWriter {
 public:
  // `tools` may be null: no repairs. It must outlive the writer. Begins the call of the tool `name`.
  ArgumentWriter(const ToolTypes* tools, std::string_view name);

  // Each appends to `out` what is certain of the arguments' text.
  void open_key(std::string& out);
  void key(std::string_view piece, std::string& out);
  void close_key(std::string& out);
  void open_value(bool is_string, std::string& out);
  void value(std::string_view piece, std::string& out);
  void close_value(std::string& out);
  // The completion ended inside the call: what is held comes out as it stands.
  void abandon(std::string& out);
  // `body`: text found where parameters belong; a call without parameters may have written a JSON object there, which
  // is then taken for the arguments.
  ArgumentsVerdict close_call(std::string_view body, std::string& out, bool& used_body);

 private:
  void begin_member(std::string& out);
  void release(std::string& out);
  std::string repaired(std::string_view raw);
  bool fits(const JsonValue& object) const;

  const ToolTypes* tools_;
  const ToolTypes::Tool* tool_ = nullptr;  // null: undeclared, or no table
  std::string key_;
  std::vector<std::string> seen_;
  unsigned allowed_ = kAnyType;  // by the schema, for the current value
  bool is_string_ = false;
  bool may_wrap_ = false;  // the current key may be a wrapper the schema does not know
  bool buffers_ = false;   // the current value is held in value_
  std::string value_;
  std::string wrapper_;  // a whole "key": value held back because it may be a wrapper around the arguments
  bool has_members_ = false;
  bool key_held_ = false;  // key_ has not been written yet
  bool repaired_ = false, invalid_ = false;
};

}  // namespace hadal::chat
