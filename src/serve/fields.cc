#include "serve/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "chat/utf8.h"

namespace hadal::serve {
namespace {

using Kind = JsonValue::Kind;

// A parsed value takes about 110 bytes, so that a body of nothing but "0,0,0" would grow fiftyfold. A prompt of a
// million token ids has to pass.
constexpr std::size_t kMostValues = 3'000'000;

std::size_t count_values(std::string_view text) {
  std::size_t count = 1;
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (inside) {
      if (c == '\\') ++i;
      if (c == '"') inside = false;
    } else if (c == '"') {
      inside = true;
    } else if (c == ',' || c == '[' || c == '{') {
      ++count;
    }
  }
  return count;
}

}  // namespace

Result<JsonValue> parse_body(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return fail(ErrorCode::kBadInput, "the request's body is empty; send a JSON object");
  if (!chat::is_utf8(body)) return fail(ErrorCode::kBadInput, "the request's body is not valid UTF-8");
  if (count_values(body) > kMostValues)
    return fail(ErrorCode::kBadInput, "the request's body holds more than {} JSON values", kMostValues);
  auto parsed = chat::parse_json(body);
  if (!parsed) return fail(ErrorCode::kBadInput, "the request's body is not JSON: {}", parsed.error().what);
  if (!parsed->is(Kind::kObject)) return fail(ErrorCode::kBadInput, "the request's body must be a JSON object");
  return parsed;
}

Result<Fields> Fields::of(const JsonValue& value, std::string path) {
  if (!value.is(Kind::kObject)) return fail(ErrorCode::kUsage, "'{}' must be an object", path);
  return Fields(&value, std::move(path));
}

std::string Fields::path(std::string_view key, std::size_t index) const {
  return fmt::format("{}[{}]", path(key), index);
}

std::unexpected<Error> Fields::wrong(std::string_view key, std::string_view must) const {
  return fail(ErrorCode::kUsage, "'{}' must be {}", path(key), must);
}

const JsonValue* Fields::get(std::string_view key) {
  const JsonValue* value = object_->find(key);
  if (value) read_.push_back(value);
  return value && !value->is(Kind::kNull) ? value : nullptr;
}

bool Fields::has(std::string_view key) const {
  const JsonValue* value = object_->find(key);
  return value && !value->is(Kind::kNull);
}

Result<std::optional<std::string>> Fields::text(std::string_view key) {
  const JsonValue* value = get(key);
  if (!value) return std::nullopt;
  if (!value->is(Kind::kString)) return wrong(key, "a string");
  return value->text;
}

Result<std::string> Fields::required_text(std::string_view key) {
  auto value = HADAL_TRY(text(key));
  if (!value) return fail(ErrorCode::kUsage, "'{}' is missing; it must be a string", path(key));
  return *value;
}

Result<std::optional<double>> Fields::number(std::string_view key) {
  const JsonValue* value = get(key);
  if (!value) return std::nullopt;
  double out = 0;
  if (!value->is(Kind::kNumber)) return wrong(key, "a number");
  const char* end = value->text.data() + value->text.size();
  const auto [at, error] = std::from_chars(value->text.data(), end, out);
  if (error != std::errc() || at != end || !std::isfinite(out)) return wrong(key, "a finite number");
  return out;
}

Result<std::optional<std::int64_t>> Fields::integer(std::string_view key, std::int64_t least, std::int64_t most) {
  const JsonValue* value = get(key);
  if (!value) return std::nullopt;
  std::string text = value->text;
  if (text.ends_with(".0")) text.resize(text.size() - 2);  // languages without integers write 5.0
  std::int64_t out = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (!value->is(Kind::kNumber) || error != std::errc() || at != text.data() + text.size() || out < least || out > most)
    return wrong(key, fmt::format("a whole number from {} to {}", least, most));
  return out;
}

Result<std::optional<bool>> Fields::flag(std::string_view key) {
  const JsonValue* value = get(key);
  if (!value) return std::nullopt;
  if (!value->is(Kind::kTrue) && !value->is(Kind::kFalse)) return wrong(key, "true or false");
  return value->is(Kind::kTrue);
}

Result<std::vector<std::string>> Fields::texts(std::string_view key) {
  std::vector<std::string> out;
  const JsonValue* value = get(key);
  if (!value) return out;
  if (value->is(Kind::kString)) return std::vector{value->text};
  if (!value->is(Kind::kArray)) return wrong(key, "a string or a list of strings");
  for (const JsonValue& item : value->items) {
    if (!item.is(Kind::kString)) return wrong(key, "a string or a list of strings");
    out.push_back(item.text);
  }
  return out;
}

Result<const std::vector<JsonValue>*> Fields::list(std::string_view key) {
  const JsonValue* value = get(key);
  if (!value) return nullptr;
  if (!value->is(Kind::kArray)) return wrong(key, "a list");
  return &value->items;
}

Result<std::optional<Fields>> Fields::object(std::string_view key) {
  const JsonValue* value = get(key);
  if (!value) return std::nullopt;
  if (!value->is(Kind::kObject)) return wrong(key, "an object");
  return Fields(value, path(key));
}

void Fields::pass(std::initializer_list<std::string_view> keys) {
  for (std::string_view key : keys) get(key);
}

Status Fields::refuse(std::string_view key, std::string_view why) {
  const JsonValue* value = get(key);
  if (!value || !value->truthy()) return {};
  return fail(ErrorCode::kUnsupported, "'{}' is not supported: {}", path(key), why);
}

void Fields::report_unknown(std::vector<std::string>& warnings) const {
  constexpr std::size_t kMost = 32;  // a header's worth
  for (const chat::JsonMember& member : object_->members)
    if (warnings.size() < kMost && std::ranges::find(read_, &member.value) == read_.end())
      warnings.push_back(fmt::format("unknown field '{}'", path(member.key)));
}

std::string_view field_of(const Error& error) {
  std::string_view what = error.what;
  if (!what.starts_with('\'')) return "";
  const std::size_t end = what.find('\'', 1);
  return end == std::string_view::npos ? "" : what.substr(1, end - 1);
}

}  // namespace hadal::serve
