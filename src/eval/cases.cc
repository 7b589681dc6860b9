#include "eval/cases.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "files/mapped_file.h"
#include "sessions/generate.h"

namespace hadal {

Result<std::vector<EvalCase>> read_cases(const std::string& path) {
  constexpr std::size_t kMostBytes = std::size_t{256} << 20;  // fifty prompts of a million tokens
  const MappedFile file = HADAL_TRY(MappedFile::open(path));
  if (file.size() > kMostBytes)
    return fail(ErrorCode::kBadInput, "{}: {} bytes are more than the {} read at most; split it", path, file.size(),
                kMostBytes);
  std::istringstream in(std::string(reinterpret_cast<const char*>(file.bytes().data()), file.size()));
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
  if (cases.empty()) return fail(ErrorCode::kBadInput, "{}: there is no case in the file", path);
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
