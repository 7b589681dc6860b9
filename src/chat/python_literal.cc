#include "chat/python_literal.h"

#include <charconv>
#include <string>
#include <utility>

#include "chat/utf8.h"

namespace hadal::chat {
namespace {

using Kind = JsonValue::Kind;

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Result<JsonValue> document() {
    JsonValue value;
    HADAL_CHECK_OK(read(value, 0));
    skip_blanks();
    if (at_ != text_.size()) return bad("extra text after the value");
    return value;
  }

 private:
  std::unexpected<Error> bad(std::string_view what) const {
    return fail(ErrorCode::kBadInput, "not a Python literal: {} at byte {}", what, at_);
  }
  bool at(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool take(char c) { return at(c) ? (++at_, true) : false; }
  void skip_blanks() {
    while (at(' ') || at('\t') || at('\n') || at('\r')) ++at_;
  }

  Status read(JsonValue& out, int depth) {
    if (depth == kMaxJsonDepth) return bad("values are nested too deeply");
    skip_blanks();
    if (at_ == text_.size()) return bad("a value is missing");
    switch (text_[at_]) {
      case '\'':
      case '"':
        out.kind = Kind::kString;
        return read_string(out.text);
      case '[':
        return ++at_, read_list(out, ']', depth);
      case '(':
        return ++at_, read_list(out, ')', depth);
      case '{':
        return ++at_, read_dict(out, depth);
      default:
        return read_word(out);
    }
  }

  Status read_list(JsonValue& out, char close, int depth) {
    out.kind = Kind::kArray;
    bool comma = false;
    for (;;) {
      skip_blanks();
      if (at(close)) break;
      if (!out.items.empty() && !comma) return bad("expected a comma");
      HADAL_CHECK_OK(read(out.items.emplace_back(), depth + 1));
      skip_blanks();
      comma = take(',');
    }
    // (1) is a number in brackets, (1,) a tuple.
    if (close == ')' && out.items.size() == 1 && !comma) {
      JsonValue only = std::move(out.items[0]);
      out = std::move(only);
    }
    ++at_;
    return {};
  }

  Status read_dict(JsonValue& out, int depth) {
    out.kind = Kind::kObject;
    bool comma = false;
    for (;;) {
      skip_blanks();
      if (take('}')) return {};
      if (!out.members.empty() && !comma) return bad("expected a comma");
      if (!at('\'') && !at('"')) return bad("expected a string as key");
      JsonMember member;
      HADAL_CHECK_OK(read_string(member.key));
      skip_blanks();
      if (!take(':')) return bad("expected ':'");
      HADAL_CHECK_OK(read(member.value, depth + 1));
      if (out.find(member.key)) return bad("a key is repeated");  // one value would be lost
      out.members.push_back(std::move(member));
      skip_blanks();
      comma = take(',');
    }
  }

  Status read_word(JsonValue& out) {
    std::size_t end = text_.find_first_of(" \t\r\n,:]})", at_);
    std::string_view word = text_.substr(at_, end == std::string_view::npos ? end : end - at_);
    if (word == "None" || word == "null") {
      out.kind = Kind::kNull;
    } else if (word == "True" || word == "true") {
      out.kind = Kind::kTrue;
    } else if (word == "False" || word == "false") {
      out.kind = Kind::kFalse;
    } else {
      auto number = parse_json(word);
      if (!number || !number->is(Kind::kNumber) || number->text.find_first_of("NI") != std::string::npos) {
        return bad("an unknown word");
      }
      out = std::move(*number);
    }
    at_ += word.size();
    return {};
  }

  Status read_string(std::string& out) {
    char quote = text_[at_++];
    if (text_.substr(at_).starts_with(std::string(2, quote))) return bad("triple quotes are not read");
    for (;;) {
      if (at_ == text_.size() || at('\n')) return bad("a string is not closed");
      if (take(quote)) return {};
      if (take('\\')) {
        HADAL_CHECK_OK(read_escape(out));
        continue;
      }
      tokens::Utf8Step step = utf8_step(text_, at_);
      if (step.kind != tokens::Utf8::kWellFormed) return bad("invalid UTF-8");
      out += text_.substr(at_, step.length);
      at_ += step.length;
    }
  }

  Status read_escape(std::string& out) {
    constexpr std::string_view kNames = "'\"\\nrtbfav0", kMeanings("'\"\\\n\r\t\b\f\a\v\0", 11);
    if (at_ == text_.size()) return bad("a string is not closed");
    char c = text_[at_];
    if (std::size_t i = kNames.find(c); i != std::string_view::npos) {
      bool octal = c == '0' && at_ + 1 < text_.size() && text_[at_ + 1] >= '0' && text_[at_ + 1] <= '7';
      if (octal) return bad("octal escapes are not read");
      ++at_;
      out += kMeanings[i];
      return {};
    }
    if (c == 'x' || c == 'u') {
      std::size_t digits = c == 'x' ? 2 : 4;
      std::string unit = "\"\\u" + std::string(4 - digits, '0') + std::string(text_.substr(at_ + 1, digits)) + "\"";
      auto decoded = parse_json(unit);
      if (!decoded || decoded->text == "\uFFFD") return bad("a broken escape");
      out += decoded->text;
      at_ += 1 + digits;
      return {};
    }
    // Python keeps an unknown escape as it stands.
    out += '\\';
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Result<JsonValue> parse_python_literal(std::string_view text) { return Reader(text).document(); }

}  // namespace hadal::chat
