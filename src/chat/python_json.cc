#include "chat/python_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <utility>

#include "chat/utf8.h"

namespace hadal::chat {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Decimal exponent of the leading digit of a float literal, clamped; tells overflow from underflow.
std::int64_t leading_exponent(std::string_view literal) {
  constexpr std::int64_t kFar = 1'000'000'000;  // past any double, far from overflowing the sum below
  std::size_t e = literal.find_first_of("eE");
  std::int64_t exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view digits = literal.substr(e + 1);
    bool negative = digits.starts_with('-');
    if (negative || digits.starts_with('+')) digits.remove_prefix(1);
    for (char c : digits) exponent = std::min(exponent * 10 + (c - '0'), kFar);
    if (negative) exponent = -exponent;
  }
  std::string_view mantissa = literal.substr(0, e);
  std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  std::size_t first = mantissa.find_first_of("123456789");
  if (first == std::string_view::npos) return -kFar;
  auto place = static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first) - (first < point ? 1 : 0);
  return exponent + place;
}

double to_double(std::string_view literal) {
  double value = 0;
  auto [end, error] = std::from_chars(literal.data(), literal.data() + literal.size(), value);
  if (error != std::errc::result_out_of_range) return value;
  double limit = leading_exponent(literal) > 0 ? std::numeric_limits<double>::infinity() : 0.0;
  return literal.starts_with('-') ? -limit : limit;
}

void append_code_point(std::string& out, std::uint32_t c) {
  auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Result<JsonValue> document() {
    JsonValue value;
    skip_blanks();
    HADAL_CHECK_OK(read(value, 0));
    skip_blanks();
    if (at_ != text_.size()) return bad("extra text after the value");
    return value;
  }

 private:
  std::unexpected<Error> bad(std::string_view what) const {
    return fail(ErrorCode::kBadInput, "JSON text is not valid: {} at byte {}", what, at_);
  }
  bool at(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool take(char c) { return at(c) ? (++at_, true) : false; }
  bool take(std::string_view word) { return text_.substr(at_).starts_with(word) ? (at_ += word.size(), true) : false; }
  void skip_blanks() {
    while (at(' ') || at('\t') || at('\n') || at('\r')) ++at_;
  }

  Status read(JsonValue& out, int depth) {
    using Kind = JsonValue::Kind;
    out.begin = at_;
    if (at_ == text_.size()) return bad("a value is missing");
    switch (text_[at_]) {
      case '"':
        out.kind = Kind::kString;
        HADAL_CHECK_OK(read_string(out.text));
        break;
      case '{':
        out.kind = Kind::kObject;
        HADAL_CHECK_OK(read_object(out, depth));
        break;
      case '[':
        out.kind = Kind::kArray;
        HADAL_CHECK_OK(read_array(out, depth));
        break;
      default:
        if (take("null")) {
          out.kind = Kind::kNull;
        } else if (take("true")) {
          out.kind = Kind::kTrue;
        } else if (take("false")) {
          out.kind = Kind::kFalse;
        } else {
          out.kind = Kind::kNumber;
          HADAL_CHECK_OK(read_number(out.text));
        }
    }
    out.end = at_;
    return {};
  }

  Status read_array(JsonValue& out, int depth) {
    if (depth == kMaxJsonDepth) return bad("arrays and objects are nested too deeply");
    ++at_;
    skip_blanks();
    if (take(']')) return {};
    do {
      skip_blanks();
      HADAL_CHECK_OK(read(out.items.emplace_back(), depth + 1));
      skip_blanks();
    } while (take(','));
    if (!take(']')) return bad("expected ',' or ']'");
    return {};
  }

  Status read_object(JsonValue& out, int depth) {
    if (depth == kMaxJsonDepth) return bad("arrays and objects are nested too deeply");
    std::unordered_map<std::string, std::size_t> places;
    ++at_;
    skip_blanks();
    if (take('}')) return {};
    do {
      skip_blanks();
      if (!at('"')) return bad("expected a key in double quotes");
      std::string key;
      HADAL_CHECK_OK(read_string(key));
      skip_blanks();
      if (!take(':')) return bad("expected ':'");
      skip_blanks();
      JsonValue value;
      HADAL_CHECK_OK(read(value, depth + 1));
      auto [place, is_new] = places.try_emplace(key, out.members.size());
      if (is_new) {
        out.members.push_back({std::move(key), std::move(value)});
      } else {
        out.members[place->second].value = std::move(value);  // as a Python dict: last value, first position
      }
      skip_blanks();
    } while (take(','));
    if (!take('}')) return bad("expected ',' or '}'");
    return {};
  }

  Status read_string(std::string& out) {
    ++at_;
    for (;;) {
      std::size_t start = at_;
      while (at_ < text_.size()) {
        auto c = static_cast<unsigned char>(text_[at_]);
        if (c == '"' || c == '\\' || c < 0x20) break;
        tokens::Utf8Step step = utf8_step(text_, at_);
        if (step.kind != tokens::Utf8::kWellFormed) return bad("invalid UTF-8");
        at_ += step.length;
      }
      out.append(text_, start, at_ - start);
      if (at_ == text_.size()) return bad("a string is not closed");
      if (take('"')) return {};
      if (!at('\\')) return bad("a raw control character in a string");
      HADAL_CHECK_OK(read_escape(out));
    }
  }

  Status read_escape(std::string& out) {
    ++at_;
    if (at_ == text_.size()) return bad("a string is not closed");
    constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (std::size_t i = kNames.find(text_[at_]); i != std::string_view::npos) {
      ++at_;
      out += kMeanings[i];
      return {};
    }
    if (text_[at_] != 'u') return bad("an unknown escape");
    ++at_;
    std::uint32_t unit = HADAL_TRY(read_unit());
    bool high = unit >= 0xD800 && unit <= 0xDBFF, low = unit >= 0xDC00 && unit <= 0xDFFF;
    if (high && text_.substr(at_).starts_with("\\u")) {
      std::size_t before = at_;
      at_ += 2;
      std::uint32_t next = HADAL_TRY(read_unit());
      if (next >= 0xDC00 && next <= 0xDFFF) {
        append_code_point(out, 0x10000 + ((unit - 0xD800) << 10) + (next - 0xDC00));
        return {};
      }
      at_ = before;
    }
    append_code_point(out, high || low ? 0xFFFD : unit);
    return {};
  }

  Result<std::uint32_t> read_unit() {
    std::uint32_t unit = 0;
    std::string_view digits = text_.substr(at_, 4);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
    if (digits.size() < 4 || error != std::errc{} || end != digits.data() + 4) return bad("\\u needs four hex digits");
    at_ += 4;
    return unit;
  }

  Status read_number(std::string& out) {
    if (take("NaN")) return void(out = "NaN"), Status{};
    std::size_t start = at_;
    take('-');
    if (take("Infinity")) return void(out = text_.substr(start, at_ - start)), Status{};
    auto digits = [&] {
      std::size_t from = at_;
      while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
      return at_ - from;
    };
    if (!take('0') && digits() == 0) return at_ = start, bad("expected a value");
    bool is_float = false;
    // As in Python, a point or an exponent without digits is not part of the number (and then is extra text).
    if (std::size_t mark = at_; take('.')) digits() > 0 ? void(is_float = true) : void(at_ = mark);
    if (std::size_t mark = at_; take('e') || take('E')) {
      if (!take('+')) take('-');
      digits() > 0 ? void(is_float = true) : void(at_ = mark);
    }
    std::string_view literal = text_.substr(start, at_ - start);
    if (is_float) {
      out = python_float(to_double(literal));
    } else {
      out = literal == "-0" ? "0" : literal;  // Python has no negative integer zero
    }
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  for (const JsonMember& member : members) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

bool JsonValue::truthy() const {
  switch (kind) {
    case Kind::kNull:
    case Kind::kFalse:
      return false;
    case Kind::kTrue:
      return true;
    case Kind::kNumber:
      return text != "0" && text != "0.0" && text != "-0.0";
    case Kind::kString:
      return !text.empty();
    case Kind::kArray:
      return !items.empty();
    case Kind::kObject:
      return !members.empty();
  }
  return false;
}

Result<JsonValue> parse_json(std::string_view text) { return Reader(text).document(); }

std::string python_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  char buffer[40];  // sign, 17 digits, point, e-308
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string_view shortest(buffer, static_cast<std::size_t>(end - buffer));
  std::string out;
  if (shortest.starts_with('-')) {
    out = "-";
    shortest.remove_prefix(1);
  }
  std::size_t e = shortest.find('e');
  std::string digits(1, shortest[0]);
  if (e > 2) digits += shortest.substr(2, e - 2);
  int exponent = 0;
  std::string_view power = shortest.substr(e + 1);
  if (power.starts_with('+')) power.remove_prefix(1);
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out.append(".").append(digits, 1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1)
    return out + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  auto point = static_cast<std::size_t>(exponent) + 1;
  return out + digits.substr(0, point) + "." + digits.substr(point);
}

void append_json_escaped(std::string& out, std::string_view utf8) {
  std::size_t plain = 0;
  for (std::size_t i = 0; i < utf8.size(); ++i) {
    auto c = static_cast<unsigned char>(utf8[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(utf8, plain, i - plain);
    plain = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += fmt::format("\\u{:04x}", c);
    }
  }
  out.append(utf8, plain);
}

std::string json_string(std::string_view utf8) {
  std::string out = "\"";
  append_json_escaped(out, utf8);
  return out += '"';
}

void append_python_json(std::string& out, const JsonValue& value) {
  switch (value.kind) {
    case JsonValue::Kind::kNull:
      out += "null";
      return;
    case JsonValue::Kind::kFalse:
      out += "false";
      return;
    case JsonValue::Kind::kTrue:
      out += "true";
      return;
    case JsonValue::Kind::kNumber:
      out += value.text;
      return;
    case JsonValue::Kind::kString:
      out += json_string(value.text);
      return;
    case JsonValue::Kind::kArray: {
      out += '[';
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ", ";
        append_python_json(out, value.items[i]);
      }
      out += ']';
      return;
    }
    case JsonValue::Kind::kObject: {
      out += '{';
      for (std::size_t i = 0; i < value.members.size(); ++i) {
        if (i > 0) out += ", ";
        out += json_string(value.members[i].key);
        out += ": ";
        append_python_json(out, value.members[i].value);
      }
      out += '}';
      return;
    }
  }
}

std::string python_json(const JsonValue& value) {
  std::string out;
  append_python_json(out, value);
  return out;
}

Result<std::string> respell_json(std::string_view raw) { return python_json(HADAL_TRY(parse_json(raw))); }

}  // namespace hadal::chat
