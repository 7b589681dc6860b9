#include "sampling/generation_config.h"

#include <simdjson.h>

#include <cstdint>

namespace hadal {
namespace {

namespace od = simdjson::ondemand;

constexpr std::int64_t kMaxEosIds = 256;  // more is a mistake, and each sampled token is compared with all

// Keys of the file format that change what is generated, with the value that means "off".
struct NeutralKey {
  std::string_view name;
  double off;
};
constexpr NeutralKey kNeutral[] = {
    {"repetition_penalty", 1},
    {"length_penalty", 1},
    {"num_beams", 1},
    {"num_beam_groups", 1},
    {"diversity_penalty", 0},
    {"no_repeat_ngram_size", 0},
    {"encoder_repetition_penalty", 1},
    {"typical_p", 1},
    {"epsilon_cutoff", 0},
    {"eta_cutoff", 0},
    {"penalty_alpha", 0},
    {"min_length", 0},
    {"min_new_tokens", 0},
};

template <class T, class V>
Result<T> get(V&& value, const std::string& where, std::string_view key, const char* wanted) {
  T out{};
  if (value.get(out)) return fail(ErrorCode::kBadInput, "{}: '{}' must be {}", where, key, wanted);
  return out;
}

Result<TokenId> eos_id(std::int64_t id, const std::string& where) {
  if (id < 0 || id > INT32_MAX) return fail(ErrorCode::kBadInput, "{}: eos_token_id {} is not a token id", where, id);
  return TokenId{static_cast<std::int32_t>(id)};
}

Status read_eos(od::value value, const std::string& where, std::vector<TokenId>& out) {
  constexpr const char* kWanted = "a token id or a list of token ids";
  od::json_type type;
  if (value.type().get(type)) return fail(ErrorCode::kBadInput, "{}: 'eos_token_id' must be {}", where, kWanted);
  if (type != od::json_type::array) {
    const auto id = HADAL_TRY(get<std::int64_t>(value, where, "eos_token_id", kWanted));
    out.push_back(HADAL_TRY(eos_id(id, where)));
    return {};
  }
  od::array list;
  if (value.get_array().get(list)) return fail(ErrorCode::kBadInput, "{}: 'eos_token_id' must be {}", where, kWanted);
  for (auto item : list) {
    if (std::ssize(out) == kMaxEosIds)
      return fail(ErrorCode::kBadInput, "{}: eos_token_id lists more than {} ids", where, kMaxEosIds);
    const auto id = HADAL_TRY(get<std::int64_t>(item, where, "eos_token_id", kWanted));
    out.push_back(HADAL_TRY(eos_id(id, where)));
  }
  return {};
}

Status read_field(std::string_view key, od::value value, const std::string& where, GenerationConfig& config) {
  od::json_type type;
  if (value.type().get(type)) return fail(ErrorCode::kBadInput, "{}: broken JSON at '{}'", where, key);
  if (type == od::json_type::null) return {};  // the format's way of saying "default"
  if (key == "do_sample") {
    config.do_sample = HADAL_TRY(get<bool>(value, where, key, "true or false"));
  } else if (key == "temperature") {
    config.temperature = HADAL_TRY(get<double>(value, where, key, "a number"));
  } else if (key == "top_p") {
    config.top_p = HADAL_TRY(get<double>(value, where, key, "a number"));
  } else if (key == "top_k") {
    config.top_k = HADAL_TRY(get<std::int64_t>(value, where, key, "a whole number"));
  } else if (key == "min_p") {
    config.min_p = HADAL_TRY(get<double>(value, where, key, "a number"));
  } else if (key == "eos_token_id") {
    return read_eos(value, where, config.eos_token_ids);
  } else {
    for (const NeutralKey& neutral : kNeutral) {
      if (key != neutral.name) continue;
      const double got = HADAL_TRY(get<double>(value, where, key, "a number"));
      if (got != neutral.off) {
        return fail(ErrorCode::kUnsupported, "{}: {} = {} is not supported; only {} (off) is", where, key, got,
                    neutral.off);
      }
    }
  }
  return {};
}

}  // namespace

SamplingOptions GenerationConfig::sampling() const {
  SamplingOptions options;
  options.temperature = do_sample ? temperature : 0.0;
  options.top_p = top_p;
  options.top_k = top_k;
  options.min_p = min_p;
  options.stop_ids = eos_token_ids;
  return options;
}

Result<GenerationConfig> parse_generation_config(std::string_view json, const std::string& where) {
  simdjson::padded_string padded(json);
  od::parser parser;
  od::document document;
  od::object object;
  if (parser.iterate(padded).get(document) || document.get_object().get(object)) {
    return fail(ErrorCode::kBadInput, "{}: not a JSON object", where);
  }
  GenerationConfig config;
  for (auto field : object) {
    std::string_view key;
    if (field.unescaped_key().get(key)) return fail(ErrorCode::kBadInput, "{}: broken JSON in a key", where);
    const std::string name(key);  // the parser reuses the key's buffer
    od::value value;
    if (field.value().get(value)) return fail(ErrorCode::kBadInput, "{}: broken JSON at '{}'", where, name);
    HADAL_CHECK_OK(read_field(name, value, where, config));
  }
  if (const char* rest; !document.current_location().get(rest))
    return fail(ErrorCode::kBadInput, "{}: text after the JSON object", where);
  if (auto ok = check_sampling(config.sampling()); !ok) {
    return fail(ErrorCode::kBadInput, "{}: {}", where, ok.error().what);
  }
  return config;
}

}  // namespace hadal
