#include "serve/rewriting.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>

#include "serve/fields.h"

namespace hadal::serve {
namespace {

// The standard library's matcher recurses once per character, so it is given no more than this.
constexpr std::size_t kLongestStart = 2048;

}  // namespace

struct Rewriting::Rule {
  std::string name, replacement;
  std::regex pattern;
};

Rewriting::Rewriting() = default;
Rewriting::~Rewriting() = default;
Rewriting::Rewriting(Rewriting&&) noexcept = default;
Rewriting& Rewriting::operator=(Rewriting&&) noexcept = default;

Result<Rewriting> Rewriting::read(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return fail(ErrorCode::kNotFound, "--rewrite {}: cannot be read", path);
  return parse(text.str(), "--rewrite " + path);
}

Result<Rewriting> Rewriting::parse(std::string_view json, const std::string& where) {
  auto list = chat::parse_json(json);
  if (!list || !list->is(JsonValue::Kind::kArray))
    return fail(ErrorCode::kBadInput, "{}: is not a JSON list of rules", where);
  Rewriting out;
  for (std::size_t i = 0; i < list->items.size(); ++i) {
    Fields f = HADAL_TRY(Fields::of(list->items[i], fmt::format("rule {}", i)));
    Rule rule;
    rule.name = HADAL_TRY(f.required_text("name"));
    rule.replacement = HADAL_TRY(f.text("replacement")).value_or("");
    const std::string pattern = HADAL_TRY(f.required_text("pattern"));
    std::vector<std::string> unknown;
    f.report_unknown(unknown);
    if (!unknown.empty()) return fail(ErrorCode::kBadInput, "{}: {}", where, unknown[0]);
    try {
      rule.pattern = std::regex(pattern, std::regex::ECMAScript);
    } catch (const std::regex_error& e) {
      return fail(ErrorCode::kBadInput, "{}: rule '{}' has a bad pattern: {}", where, rule.name, e.what());
    }
    out.rules_.push_back(std::move(rule));
  }
  return out;
}

std::vector<std::string> Rewriting::apply(std::vector<chat::Message>& messages) const {
  std::vector<std::string> used;
  if (messages.empty() || messages[0].role != chat::Role::kSystem || !messages[0].content) return used;
  std::string& text = *messages[0].content;
  for (const Rule& rule : rules_) {
    const std::string start = text.substr(0, kLongestStart);
    std::smatch match;
    try {
      if (!std::regex_search(start, match, rule.pattern, std::regex_constants::match_continuous)) continue;
    } catch (const std::regex_error&) {
      continue;  // too complex for this text: the rule does not apply
    }
    text = match.format(rule.replacement) + text.substr(static_cast<std::size_t>(match.length()));
    used.push_back(rule.name);
  }
  return used;
}

}  // namespace hadal::serve
