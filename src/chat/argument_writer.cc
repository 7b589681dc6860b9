#include "chat/argument_writer.h"

#include <algorithm>

#include "chat/python_literal.h"

namespace hadal::chat {
namespace {

using Kind = JsonValue::Kind;

// A held value longer than this is let go as it is: nobody waits for a megabyte because it might be malformed.
constexpr std::size_t kMostHeld = 64 * 1024;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// JSON proper: what Python reads, without its NaN and infinities.
bool is_finite(const JsonValue& value, std::string_view source) {
  if (value.is(Kind::kNumber)) return source.substr(value.begin, 2).find_first_of("NI") == std::string_view::npos;
  return std::ranges::all_of(value.items, [&](const JsonValue& item) { return is_finite(item, source); }) &&
         std::ranges::all_of(value.members, [&](const JsonMember& m) { return is_finite(m.value, source); });
}

bool is_strict_json(std::string_view text) {
  auto value = parse_json(text);
  return value && is_finite(*value, text);
}

bool is_wrapper_key(std::string_view key) { return key == "arguments" || key == "input"; }

}  // namespace

ArgumentWriter::ArgumentWriter(const ToolTypes* tools, std::string_view name)
    : tools_(tools), tool_(tools ? tools->find(name) : nullptr) {}

void ArgumentWriter::begin_member(std::string& out) {
  out += has_members_ ? ", \"" : "{\"";
  has_members_ = true;
}

void ArgumentWriter::open_key(std::string& out) {
  key_.clear();
  if (!wrapper_.empty()) {  // another parameter follows: it was no wrapper
    out += wrapper_;
    wrapper_.clear();
  }
  key_held_ = tools_ != nullptr;
  if (!tools_) begin_member(out);
}

void ArgumentWriter::key(std::string_view piece, std::string& out) {
  key_ += piece;
  if (!tools_) append_json_escaped(out, piece);
}

void ArgumentWriter::close_key(std::string& out) {
  if (!tools_) out += "\": ";
}

void ArgumentWriter::open_value(bool is_string, std::string& out) {
  is_string_ = is_string;
  value_.clear();
  buffers_ = false;
  if (tools_) {
    allowed_ = kAnyType;
    may_wrap_ = false;
    if (tool_ && tool_->has_schema) {
      auto property = tool_->parameters.find(key_);
      if (property != tool_->parameters.end()) {
        allowed_ = property->second;
      } else {
        may_wrap_ = is_wrapper_key(key_) && seen_.empty();
      }
    }
    seen_.push_back(key_);
    buffers_ = !is_string || !(allowed_ & kStringType) || may_wrap_;
    if (buffers_) return;
    key_held_ = false;
    begin_member(out);
    append_json_escaped(out, key_);
    out += "\": ";
  }
  if (is_string) out += '"';
}

void ArgumentWriter::value(std::string_view piece, std::string& out) {
  if (buffers_) {
    value_ += piece;
    if (value_.size() > kMostHeld) release(out);
    return;
  }
  if (is_string_) {
    append_json_escaped(out, piece);
  } else {
    out += piece;
    if (tools_) value_ += piece;  // to be checked at its end
  }
}

// Writes the held key and value without repair; the rest of the value streams.
void ArgumentWriter::release(std::string& out) {
  begin_member(out);
  append_json_escaped(out, key_);
  out += is_string_ ? "\": \"" : "\": ";
  key_held_ = buffers_ = false;
  if (is_string_) {
    append_json_escaped(out, value_);
  } else {
    out += value_;
  }
}

void ArgumentWriter::abandon(std::string& out) {
  out += wrapper_;
  wrapper_.clear();
  if (buffers_) {
    release(out);
  } else if (key_held_) {
    begin_member(out);
    append_json_escaped(out, key_);
    key_held_ = false;
  }
}

void ArgumentWriter::close_value(std::string& out) {
  if (!buffers_) {
    if (is_string_) {
      out += '"';
    } else if (tools_ && !is_strict_json(value_)) {
      invalid_ = true;
    }
    return;
  }
  std::string member;
  begin_member(member);
  append_json_escaped(member, key_);
  member += "\": " + repaired(value_);
  (may_wrap_ ? wrapper_ : out) += member;
  key_held_ = buffers_ = false;
}

// The value's JSON. Passed through, and remembered as invalid, if no repair is safe.
std::string ArgumentWriter::repaired(std::string_view raw) {
  std::string_view text = trimmed(raw);
  bool is_json = is_strict_json(text);
  if (is_string_) {
    if (allowed_ & kStringType) return json_string(raw);  // held as a possible wrapper only
    auto decoded = is_json ? parse_json(text) : parse_python_literal(text);
    if (!decoded || !(type_of(*decoded) & allowed_)) return json_string(raw);  // it is at least a string
    repaired_ = true;
    return is_json ? std::string(text) : python_json(*decoded);
  }
  if (is_json) return std::string(raw);
  if (auto literal = parse_python_literal(text)) {
    repaired_ = true;
    return python_json(*literal);
  }
  // A bare word is the string it spells, unless it looks like JSON that was cut or misspelled.
  bool bare = !text.empty() && text.find_first_of("{}[]\"'\n") == std::string_view::npos;
  if (bare && (allowed_ & kStringType)) {
    repaired_ = true;
    return json_string(text);
  }
  if (text.empty() && allowed_ == kStringType) {
    repaired_ = true;
    return "\"\"";
  }
  invalid_ = true;
  return std::string(raw);
}

// True if every key of the object is a parameter of the tool.
bool ArgumentWriter::fits(const JsonValue& object) const {
  if (!object.is(Kind::kObject)) return false;
  return std::ranges::all_of(object.members, [&](const JsonMember& m) { return tool_->parameters.contains(m.key); });
}

ArgumentsVerdict ArgumentWriter::close_call(std::string_view body, std::string& out, bool& used_body) {
  bool known = tool_ && tool_->has_schema;
  auto unwrap = [&](std::string_view text) {
    auto inner = parse_json(text);
    if (!inner || !inner->is(Kind::kObject) || (known && !fits(*inner))) return false;
    out += trimmed(text);
    seen_.clear();
    for (const JsonMember& member : inner->members) seen_.push_back(member.key);
    repaired_ = true;
    return true;
  };
  if (!wrapper_.empty()) {
    // The value alone: as written, or decoded when it was a string.
    if (!unwrap(value_)) out += wrapper_ + "}";
  } else if (has_members_) {
    out += '}';
  } else {
    used_body = tools_ && unwrap(body);
    if (!used_body) out += "{}";
  }
  if (invalid_) return ArgumentsVerdict::kInvalid;
  bool complete = !known || std::ranges::all_of(tool_->required, [&](const std::string& key) {
    return std::ranges::find(seen_, key) != seen_.end();
  });
  if (!complete) return ArgumentsVerdict::kMissing;
  return repaired_ ? ArgumentsVerdict::kRepaired : ArgumentsVerdict::kGood;
}

}  // namespace hadal::chat
