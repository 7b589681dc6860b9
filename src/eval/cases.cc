#include "eval/cases.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "sessions/generate.h"

namespace hadal {

Result<std::vector<EvalCase>> read_cases(const std::string& path) {
  std::ifstream in(path);
  if (!in) return fail(ErrorCode::kNotFound, "cannot read the case file {}", path);
  std::vector<EvalCase> cases;
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    EvalCase c;
    for (auto [key, field] :
         {std::pair{"id", &c.id}, {"kind", &c.kind}, {"prompt", &c.prompt}, {"expected", &c.expected}}) {
      if (!json.is_object() || !json.contains(key) || !json[key].is_string())
        return fail(ErrorCode::kBadInput, "{}, line {}: a case needs the string \"{}\"", path, number, key);
      *field = json[key].get<std::string>();
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

Result<EvalOutcome> run_case(const Engine& engine, const EvalCase& c, bool stop_at_difference) {
  std::vector<TokenId> prompt = engine.tokenizer->encode(c.prompt);
  std::vector<TokenId> expected = engine.tokenizer->encode(c.expected);
  auto timeline = HADAL_TRY(engine.new_timeline());
  GenerateOptions options;
  options.sampling = engine.default_sampling();
  options.sampling.temperature = 0;
  // Another spelling of the same text may take a few tokens more; what is compared is text.
  options.max_tokens = static_cast<std::int64_t>(expected.size()) + 8;
  std::string text;
  GenerateHooks hooks;
  Status decoded;
  hooks.on_token = [&](const Sampled& token) {
    decoded = engine.tokenizer->decode_bytes(std::span(&token.id, 1), text);
    return decoded && !(stop_at_difference && !c.expected.starts_with(text));
  };
  HADAL_TRY(generate(*timeline, prompt, options, hooks));
  HADAL_CHECK_OK(decoded);
  return EvalOutcome{text == c.expected, text, static_cast<std::int64_t>(prompt.size())};
}

}  // namespace hadal
