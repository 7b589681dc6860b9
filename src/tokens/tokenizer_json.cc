#include "tokens/tokenizer_json.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "tokens/utf8.h"

namespace hadal::tokens {
namespace {

// The DOM parser, not On-Demand: it checks the whole document, keys may come in any order, and 6 MB take about 20 ms.
using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::string_view kNumberPattern = R"(\p{N}{1,3})";
constexpr std::string_view kCjkPattern = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr std::string_view kWordPattern = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)"
                                          "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                                          "| ?[\\p{P}\\p{S}]+[\r\n]*"
                                          "|\\s*[\r\n]+"
                                          R"(|\s+(?!\S))"
                                          R"(|\s+)";

// Where in which file: every message begins with it.
struct Reader {
  const std::string& where;

  template <class... Args>
  std::unexpected<Error> refuse(fmt::format_string<Args...> text, Args&&... args) const {
    return fail(ErrorCode::kUnsupported, "{}: {}; hadal runs the tokenizers of the DeepSeek-V4 family", where,
                fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  std::unexpected<Error> bad(fmt::format_string<Args...> text, Args&&... args) const {
    return fail(ErrorCode::kBadInput, "{}: {}; fetch the file again", where,
                fmt::format(text, std::forward<Args>(args)...));
  }

  Result<object> as_object(element e, std::string_view path) const {
    object value;
    if (e.get(value)) return bad("'{}' is not an object", path);
    return value;
  }
  // The field `key` of `o`, which the file knows as <path><key>.
  Result<element> field(object o, std::string_view key, std::string_view path) const {
    element value;
    if (o.at_key(key).get(value)) return bad("'{}{}' is missing", path, key);
    return value;
  }
  template <class T>
  Result<T> typed_field(object o, std::string_view key, std::string_view path, std::string_view type) const {
    const element e = HADAL_TRY(field(o, key, path));
    T value;
    if (e.get(value)) return bad("'{}{}' is not {}", path, key, type);
    return value;
  }
  Result<object> object_field(object o, std::string_view key, std::string_view path) const {
    return typed_field<object>(o, key, path, "an object");
  }
  Result<array> array_field(object o, std::string_view key, std::string_view path) const {
    return typed_field<array>(o, key, path, "a list");
  }
  Result<std::string_view> string_field(object o, std::string_view key, std::string_view path) const {
    return typed_field<std::string_view>(o, key, path, "a string");
  }
  Result<bool> bool_field(object o, std::string_view key, std::string_view path) const {
    return typed_field<bool>(o, key, path, "true or false");
  }
  Result<std::int32_t> id_field(object o, std::string_view path) const {
    const auto value = HADAL_TRY(typed_field<std::int64_t>(o, "id", path, "an integer"));
    if (value < 0 || value >= kMaxIds) return bad("'{}id' is {}, outside 0..{}", path, value, kMaxIds - 1);
    return static_cast<std::int32_t>(value);
  }

  // What is found is shown as JSON, on one line and not longer than a terminal's.
  static std::string shown(element e) {
    const std::string text = simdjson::to_string(e);
    const std::string_view start = shortened(text, 120);
    return start.size() == text.size() ? text : std::string(start) + "...";
  }

  Status expect_string(object o, std::string_view key, std::string_view want, std::string_view path) const {
    const auto text = HADAL_TRY(string_field(o, key, path));
    if (text == want) return {};
    return refuse("'{}{}' is {}, not the expected {}", path, key, shown(HADAL_TRY(field(o, key, path))),
                  want.size() < 40 ? want : "pattern");
  }
  // Absent, null and false are the same here; `true` and anything else is refused.
  Status expect_off(object o, std::string_view key, std::string_view path) const {
    element value;
    if (o.at_key(key).get(value) || value.is_null()) return {};
    if (HADAL_TRY(bool_field(o, key, path))) return refuse("'{}{}' is true, not false", path, key);
    return {};
  }
  Status expect_null(object o, std::string_view key, std::string_view path) const {
    element value;
    if (o.at_key(key).get(value) || value.is_null()) return {};
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS && text.empty()) return {};  // "" as prefix or suffix means none
    return refuse("'{}{}' is {}, not null", path, key, shown(value));
  }
  // A field this reader does not know may change ids, unless it says nothing.
  Status expect_only(object o, std::initializer_list<std::string_view> known, std::string_view path) const {
    for (const auto& [key, value] : o) {
      if (std::find(known.begin(), known.end(), key) != known.end() || value.is_null()) continue;
      return refuse("'{}{}' is not a field known here", path, shortened(key, 60));
    }
    return {};
  }
};

Status check_normalizer(const Reader& r, object root) {
  element e;
  if (root.at_key("normalizer").get(e) || e.is_null()) return {};
  const object normalizer = HADAL_TRY(r.as_object(e, "normalizer"));
  HADAL_CHECK_OK(r.expect_string(normalizer, "type", "Sequence", "normalizer."));
  HADAL_CHECK_OK(r.expect_only(normalizer, {"type", "normalizers"}, "normalizer."));
  const auto list = HADAL_TRY(r.array_field(normalizer, "normalizers", "normalizer."));
  if (list.size() != 0) return r.refuse("'normalizer.normalizers' is not empty");
  return {};
}

Status check_split(const Reader& r, element e, std::string_view pattern, const std::string& path) {
  const object split = HADAL_TRY(r.as_object(e, path));
  HADAL_CHECK_OK(r.expect_string(split, "type", "Split", path + "."));
  HADAL_CHECK_OK(r.expect_only(split, {"type", "pattern", "behavior", "invert"}, path + "."));
  HADAL_CHECK_OK(r.expect_string(split, "behavior", "Isolated", path + "."));
  HADAL_CHECK_OK(r.expect_off(split, "invert", path + "."));
  const object holder = HADAL_TRY(r.object_field(split, "pattern", path + "."));
  HADAL_CHECK_OK(r.expect_only(holder, {"Regex"}, path + ".pattern."));
  return r.expect_string(holder, "Regex", pattern, path + ".pattern.");
}

Status check_pre_tokenizer(const Reader& r, object root) {
  const object pre = HADAL_TRY(r.object_field(root, "pre_tokenizer", ""));
  HADAL_CHECK_OK(r.expect_string(pre, "type", "Sequence", "pre_tokenizer."));
  HADAL_CHECK_OK(r.expect_only(pre, {"type", "pretokenizers"}, "pre_tokenizer."));
  const std::string path = "pre_tokenizer.pretokenizers";
  const auto list = HADAL_TRY(r.array_field(pre, "pretokenizers", "pre_tokenizer."));
  constexpr std::array kPatterns = {kNumberPattern, kCjkPattern, kWordPattern};
  if (list.size() != kPatterns.size() + 1) {
    return r.refuse("'{}' has {} entries, not three of type Split and one ByteLevel", path, list.size());
  }
  std::size_t i = 0;
  for (element e : list) {
    const std::string here = fmt::format("{}[{}]", path, i);
    if (i < kPatterns.size()) {
      HADAL_CHECK_OK(check_split(r, e, kPatterns[i], here));
    } else {
      const object last = HADAL_TRY(r.as_object(e, here));
      HADAL_CHECK_OK(r.expect_string(last, "type", "ByteLevel", here + "."));
      HADAL_CHECK_OK(r.expect_only(last, {"type", "add_prefix_space", "trim_offsets", "use_regex"}, here + "."));
      // Both are true when absent, so they must be there.
      for (std::string_view key : {"add_prefix_space", "use_regex"}) {
        if (HADAL_TRY(r.bool_field(last, key, here + "."))) return r.refuse("'{}.{}' is true, not false", here, key);
      }
    }
    ++i;
  }
  return {};
}

// A ByteLevel post-processor moves offsets only, and the ByteLevel decoder is what decode() does; others change text.
Status check_byte_level(const Reader& r, object root, std::string_view key, bool required) {
  element e;
  if (root.at_key(key).get(e) || e.is_null()) {
    if (required) return r.bad("'{}' is missing", key);
    return {};
  }
  const object byte_level = HADAL_TRY(r.as_object(e, key));
  return r.expect_string(byte_level, "type", "ByteLevel", fmt::format("{}.", key));
}

Status read_added(const Reader& r, object root, TokenizerJson& out) {
  const auto list = HADAL_TRY(r.array_field(root, "added_tokens", ""));
  for (element e : list) {
    const std::string path = fmt::format("added_tokens[{}]", out.added.size());
    const object token = HADAL_TRY(r.as_object(e, path));
    const auto id = HADAL_TRY(r.id_field(token, path + "."));
    const auto content = HADAL_TRY(r.string_field(token, "content", path + "."));
    if (content.empty() || content.size() > kMaxTokenBytes) {
      return r.bad("'{}.content' has {} bytes, outside 1..{}", path, content.size(), kMaxTokenBytes);
    }
    for (std::string_view flag : {"single_word", "lstrip", "rstrip"})
      HADAL_CHECK_OK(r.expect_off(token, flag, path + "."));
    HADAL_CHECK_OK(r.expect_only(token, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"},
                                 path + "."));
    const bool special = HADAL_TRY(r.bool_field(token, "special", path + "."));
    out.added.push_back({content, id, special});
  }
  return {};
}

Status read_vocabulary(const Reader& r, object model, TokenizerJson& out) {
  const object vocabulary = HADAL_TRY(r.object_field(model, "vocab", "model."));
  for (const auto& [text, value] : vocabulary) {
    std::int64_t id;
    if (value.get(id) || id < 0 || id >= kMaxIds) {
      return r.bad("'model.vocab' gives '{}' something else than an id in 0..{}", shortened(text, 60), kMaxIds - 1);
    }
    out.vocabulary.push_back({text, static_cast<std::int32_t>(id)});
  }
  return {};
}

// "left right", or since tokenizers 0.20 ["left", "right"].
Status read_merges(const Reader& r, object model, TokenizerJson& out) {
  const auto list = HADAL_TRY(r.array_field(model, "merges", "model."));
  for (element e : list) {
    std::string_view text, left, right;
    simdjson::dom::array pair;
    if (e.get(text) == simdjson::SUCCESS) {
      const std::size_t space = text.find(' ');
      if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
        left = text.substr(0, space);
        right = text.substr(space + 1);
      }
    } else if (e.get(pair) == simdjson::SUCCESS && pair.size() == 2) {
      if (pair.at(0).get(left) || pair.at(1).get(right)) left = {};
    }
    if (left.empty() || right.empty()) {
      return r.bad("'model.merges[{}]' is neither \"left right\" nor [\"left\", \"right\"]", out.merges.size());
    }
    out.merges.push_back({left, right});
  }
  return {};
}

}  // namespace

Result<TokenizerJson> parse_tokenizer_json(std::string_view json, const std::string& where) {
  const Reader r{where};
  auto parser = std::make_shared<simdjson::dom::parser>();
  element document;
  // parse() copies the text where the parser needs room behind its end.
  if (const auto error = parser->parse(json.data(), json.size(), true).get(document)) {
    return fail(ErrorCode::kBadInput, "{}: not valid JSON ({}); fetch the file again", where,
                simdjson::error_message(error));
  }
  const object root = HADAL_TRY(r.as_object(document, "the document"));
  HADAL_CHECK_OK(r.expect_string(root, "version", "1.0", ""));
  HADAL_CHECK_OK(r.expect_only(root,
                               {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                                "post_processor", "decoder", "model"},
                               ""));
  HADAL_CHECK_OK(r.expect_null(root, "truncation", ""));
  HADAL_CHECK_OK(r.expect_null(root, "padding", ""));
  HADAL_CHECK_OK(check_normalizer(r, root));
  HADAL_CHECK_OK(check_pre_tokenizer(r, root));
  HADAL_CHECK_OK(check_byte_level(r, root, "post_processor", false));
  HADAL_CHECK_OK(check_byte_level(r, root, "decoder", true));

  const object model = HADAL_TRY(r.object_field(root, "model", ""));
  HADAL_CHECK_OK(r.expect_string(model, "type", "BPE", "model."));
  HADAL_CHECK_OK(r.expect_only(model,
                               {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                                "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"},
                               "model."));
  for (std::string_view key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    HADAL_CHECK_OK(r.expect_null(model, key, "model."));
  }
  for (std::string_view key : {"fuse_unk", "byte_fallback", "ignore_merges"})
    HADAL_CHECK_OK(r.expect_off(model, key, "model."));

  TokenizerJson out;
  HADAL_CHECK_OK(read_added(r, root, out));
  HADAL_CHECK_OK(read_vocabulary(r, model, out));
  HADAL_CHECK_OK(read_merges(r, model, out));
  out.storage = std::move(parser);
  return out;
}

}  // namespace hadal::tokens
