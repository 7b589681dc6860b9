#include "weights/config.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>

#include "files/display_name.h"

namespace hadal {
namespace {

namespace dom = simdjson::dom;

// Bounds far above any release (Pro: 61 layers, width 7168, 384 experts) that keep every product of sizes inside 64
// bits.
constexpr std::int64_t kMaxWidth = 1 << 20;
constexpr std::int64_t kMaxVocab = 1 << 26;
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxExperts = 1 << 16;
constexpr std::int64_t kMaxExpertsInAll = 1 << 20;  // Pro: 23,808; bounds the tensor table
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 40;
constexpr std::int64_t kMaxStreams = 16;

// Reads typed values out of one JSON object and keeps the first complaint, so that the caller lists keys like a table
// and checks once.
class Reader {
 public:
  Reader(dom::object object, std::string where) : object_(object), where_(std::move(where)) {}

  const std::optional<Error>& error() const { return error_; }
  bool has(std::string_view key) const {
    return object_.at_key(key).error() == simdjson::SUCCESS && !object_.at_key(key).is_null();
  }

  template <class... Args>
  void complain(ErrorCode code, fmt::format_string<Args...> text, Args&&... args) {
    if (!error_) error_ = Error{code, fmt::format("{}: {}", where_, fmt::format(text, std::forward<Args>(args)...))};
  }

  std::int64_t integer(std::string_view key, std::int64_t least, std::int64_t most) {
    std::int64_t v = 0;
    if (!has(key)) {
      complain(ErrorCode::kBadInput, "key '{}' is missing; use the config.json of the release", key);
    } else if (object_.at_key(key).get_int64().get(v) != simdjson::SUCCESS) {
      complain(ErrorCode::kBadInput, "key '{}' is not an integer", key);
    } else if (v < least || v > most) {
      complain(ErrorCode::kBadInput, "key '{}' is {}, expected {} to {}", key, v, least, most);
    }
    return error_ ? least : v;
  }
  std::int64_t integer_or(std::string_view key, std::int64_t absent, std::int64_t least, std::int64_t most) {
    return has(key) ? integer(key, least, most) : absent;
  }

  // A finite number in [least, most].
  double number(std::string_view key, double least, double most) {
    double v = 0;
    if (!has(key)) {
      complain(ErrorCode::kBadInput, "key '{}' is missing; use the config.json of the release", key);
    } else if (object_.at_key(key).get_double().get(v) != simdjson::SUCCESS) {
      complain(ErrorCode::kBadInput, "key '{}' is not a number", key);
    } else if (!(v >= least && v <= most)) {
      complain(ErrorCode::kBadInput, "key '{}' is {}, expected {} to {}", key, v, least, most);
    }
    return error_ ? least : v;
  }
  double number_or(std::string_view key, double absent, double least, double most) {
    return has(key) ? number(key, least, most) : absent;
  }

  // The only value hadal runs; absence means that value.
  void only_text(std::string_view key, std::string_view value) {
    std::string_view got;
    if (!has(key)) return;
    if (object_.at_key(key).get_string().get(got) != simdjson::SUCCESS || got != value)
      complain(ErrorCode::kUnsupported, "key '{}' is {}, hadal runs only \"{}\"", key, shown(key), value);
  }
  void only_flag(std::string_view key, bool value) {
    bool got = false;
    if (!has(key)) return;
    if (object_.at_key(key).get_bool().get(got) != simdjson::SUCCESS || got != value)
      complain(ErrorCode::kUnsupported, "key '{}' is {}, hadal runs only {}", key, shown(key), value);
  }
  void only_integer(std::string_view key, std::int64_t value) {
    std::int64_t got = 0;
    if (!has(key)) return;
    if (object_.at_key(key).get_int64().get(got) != simdjson::SUCCESS || got != value)
      complain(ErrorCode::kUnsupported, "key '{}' is {}, hadal runs only {}", key, shown(key), value);
  }

  std::string_view text(std::string_view key) {
    std::string_view v;
    if (!has(key) || object_.at_key(key).get_string().get(v) != simdjson::SUCCESS)
      complain(ErrorCode::kBadInput, "key '{}' is missing or not a string", key);
    return v;
  }

  std::vector<std::int64_t> integers(std::string_view key, std::size_t most_entries, std::int64_t least,
                                     std::int64_t most) {
    std::vector<std::int64_t> out;
    dom::array list;
    if (!has(key) || object_.at_key(key).get_array().get(list) != simdjson::SUCCESS) {
      complain(ErrorCode::kBadInput, "key '{}' is missing or not a list", key);
      return out;
    }
    for (dom::element e : list) {
      std::int64_t v = 0;
      if (e.get_int64().get(v) != simdjson::SUCCESS || v < least || v > most || out.size() == most_entries) {
        complain(ErrorCode::kBadInput, "entry {} of '{}' is not an integer from {} to {}", out.size(), key, least,
                 most);
        return out;
      }
      out.push_back(v);
    }
    return out;
  }

  std::optional<Reader> object(std::string_view key) {
    dom::object inner;
    if (!has(key)) return std::nullopt;
    if (object_.at_key(key).get_object().get(inner) != simdjson::SUCCESS) {
      complain(ErrorCode::kBadInput, "key '{}' is not an object", key);
      return std::nullopt;
    }
    return Reader(inner, fmt::format("{}: {}", where_, key));
  }
  void adopt(const Reader& inner) {
    if (!error_) error_ = inner.error_;
  }

  std::optional<std::string> first_key_with(std::string_view prefix) const {
    for (auto field : object_)
      if (field.key.starts_with(prefix)) return std::string(field.key);
    return std::nullopt;
  }
  // JSON allows a key twice and does not say which one counts; we refuse to guess.
  void refuse_duplicates() {
    std::vector<std::string_view> keys;
    for (auto field : object_) keys.push_back(field.key);
    std::sort(keys.begin(), keys.end());
    auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) complain(ErrorCode::kBadInput, "key '{}' appears twice", display_name(*twice));
  }

 private:
  // The offending value as JSON, shortened.
  std::string shown(std::string_view key) const {
    std::string json = simdjson::minify(object_.at_key(key).value());
    return json.size() > 60 ? json.substr(0, 60) + "..." : json;
  }

  dom::object object_;
  std::string where_;
  std::optional<Error> error_;
};

// Other members of the family, by what gives them away.
void refuse_other_models(Reader& r) {
  const std::string_view type = r.text("model_type");
  if (type == "deepseek_v41")
    r.complain(ErrorCode::kUnsupported,
               "this is DeepSeek-V4.1 (model_type deepseek_v41), a different architecture; hadal runs DeepSeek-V4");
  else if (type != "deepseek_v4")
    r.complain(ErrorCode::kUnsupported,
               "model_type '{}' is not supported; hadal runs DeepSeek-V4 (model_type deepseek_v4)", display_name(type));
  if (auto key = r.first_key_with("vision_"))
    r.complain(ErrorCode::kUnsupported, "this is a vision model (key '{}'); hadal runs the text models of DeepSeek-V4",
               display_name(*key));
  for (std::string_view key : {"text_config", "engram", "kv_source_layer_ids", "index_source_layer_ids"})
    if (r.has(key))
      r.complain(ErrorCode::kUnsupported,
                 "key '{}' belongs to DeepSeek-V4.1, a different architecture; hadal runs DeepSeek-V4", key);
  for (std::string_view key : {"layer_types", "mlp_layer_types", "compress_rates", "rope_parameters"})
    if (r.has(key) && !r.has("compress_ratios"))
      r.complain(ErrorCode::kUnsupported,
                 "this config was re-saved by transformers (key '{}' instead of 'compress_ratios'); use the "
                 "config.json of the release",
                 key);
}

void read_quantization(Reader& r, ModelConfig& c) {
  auto q = r.object("quantization_config");
  if (!q) return;
  q->only_text("quant_method", "fp8");
  q->only_text("fmt", "e4m3");
  if (q->has("weight_block_size")) {
    const auto block = q->integers("weight_block_size", 2, 1, kMaxWidth);
    // Scales are kept per 16 rows and 128 columns (packed_matrix.h); the V4 releases use 128 x 128, V4.1 uses 32 x 32.
    if (!q->error() && block != std::vector<std::int64_t>{128, 128})
      q->complain(ErrorCode::kUnsupported, "weight_block_size is {}, hadal runs [128, 128]", fmt::join(block, " x "));
    if (!q->error()) c.weight_block_size = block[0];
  }
  r.adopt(*q);
}

void read_rope(Reader& r, ModelConfig& c) {
  c.rope_theta = r.number("rope_theta", 1, 1e12);
  c.compress_rope_theta = r.number("compress_rope_theta", 1, 1e12);
  auto s = r.object("rope_scaling");
  if (!s) return;
  s->only_text("type", "yarn");
  s->only_text("rope_type", "yarn");
  if (!s->has("type") && !s->has("rope_type")) s->complain(ErrorCode::kBadInput, "key 'type' is missing");
  c.rope_scaling.factor = s->number("factor", 1e-6, 1e6);
  c.rope_scaling.original_max_position_embeddings = s->integer("original_max_position_embeddings", 1, kMaxPositions);
  c.rope_scaling.beta_fast = s->number("beta_fast", 1e-6, 1e6);
  c.rope_scaling.beta_slow = s->number("beta_slow", 1e-6, 1e6);
  r.adopt(*s);
}

// Main layers first, then one entry per MTP or draft block. Releases with a draft carry more zeros than blocks hadal
// runs.
void read_ratios(Reader& r, ModelConfig& c) {
  c.compress_ratios = r.integers("compress_ratios", static_cast<std::size_t>(2 * kMaxLayers), 0, 1 << 20);
  if (r.error()) return;
  const auto wanted = static_cast<std::size_t>(c.num_hidden_layers + c.num_nextn_predict_layers);
  if (c.compress_ratios.size() < wanted) {
    r.complain(ErrorCode::kBadInput, "compress_ratios has {} entries, {} layers and {} MTP blocks need {}",
               c.compress_ratios.size(), c.num_hidden_layers, c.num_nextn_predict_layers, wanted);
    return;
  }
  const auto extra = c.compress_ratios.begin() + static_cast<std::ptrdiff_t>(c.num_hidden_layers);
  if (std::any_of(extra, c.compress_ratios.end(), [](std::int64_t v) { return v != 0; })) {
    r.complain(ErrorCode::kBadInput, "compress_ratios has {} entries for {} layers and those beyond are not all 0",
               c.compress_ratios.size(), c.num_hidden_layers);
    return;
  }
  if (c.has_dspark) c.dspark_blocks = static_cast<std::int64_t>(c.compress_ratios.size()) - c.num_hidden_layers;
  c.compress_ratios.resize(wanted);
}

void check_together(Reader& r, const ModelConfig& c) {
  auto need = [&r](bool ok, std::string what) {
    if (!ok) r.complain(ErrorCode::kBadInput, "{}", what);
  };
  need(c.num_hash_layers <= c.num_hidden_layers,
       fmt::format("num_hash_layers {} is more than num_hidden_layers {}", c.num_hash_layers, c.num_hidden_layers));
  need(c.num_attention_heads % c.o_groups == 0,
       fmt::format("num_attention_heads {} does not divide into o_groups {}", c.num_attention_heads, c.o_groups));
  need(c.qk_rope_head_dim % 2 == 0,
       fmt::format("qk_rope_head_dim {} is odd, channels rotate in pairs", c.qk_rope_head_dim));
  need(
      c.head_dim > c.qk_rope_head_dim && (c.head_dim - c.qk_rope_head_dim) % 64 == 0,
      fmt::format("head_dim {} minus qk_rope_head_dim {} is not a positive multiple of 64, the FP8 block of cache rows",
                  c.head_dim, c.qk_rope_head_dim));
  need(c.index_head_dim % 32 == 0 && std::has_single_bit(static_cast<std::uint64_t>(c.index_head_dim)),
       fmt::format("index_head_dim {} is not a power of two of at least 32 (Hadamard size, FP4 blocks)",
                   c.index_head_dim));
  need(c.index_head_dim >= c.qk_rope_head_dim,
       fmt::format("index_head_dim {} is smaller than qk_rope_head_dim {}", c.index_head_dim, c.qk_rope_head_dim));
  need(c.num_experts_per_tok <= c.n_routed_experts,
       fmt::format("num_experts_per_tok {} is more than n_routed_experts {}", c.num_experts_per_tok,
                   c.n_routed_experts));
  need((c.num_hidden_layers + 1) * c.n_routed_experts <= kMaxExpertsInAll,
       fmt::format("{} layers of {} experts are more than {} in all", c.num_hidden_layers, c.n_routed_experts,
                   kMaxExpertsInAll));
  need(c.moe_intermediate_size % 2 == 0 && c.hidden_size % 2 == 0,
       "moe_intermediate_size and hidden_size must be even, FP4 packs pairs");
  need(c.bos_token_id < c.vocab_size && c.eos_token_id < c.vocab_size,
       fmt::format("bos_token_id {} or eos_token_id {} lies outside the vocabulary of {}", c.bos_token_id,
                   c.eos_token_id, c.vocab_size));
  need(c.rope_scaling.beta_fast >= c.rope_scaling.beta_slow,
       fmt::format("rope_scaling.beta_fast {} is below beta_slow {}", c.rope_scaling.beta_fast,
                   c.rope_scaling.beta_slow));
}

}  // namespace

AttentionKind ModelConfig::kind(std::int64_t layer) const {
  switch (ratio(layer)) {
    case 0:
      return AttentionKind::kSwa;
    case 4:
      return AttentionKind::kCsa;
    default:
      return AttentionKind::kHca;
  }
}

Result<ModelConfig> parse_config(std::string_view json, const std::string& where) {
  constexpr std::size_t kMaxConfigBytes = 1 << 20;  // releases: 3 KB
  constexpr std::size_t kMaxDepth = 32;
  if (json.size() > kMaxConfigBytes)
    return fail(ErrorCode::kBadInput, "{}: {} bytes are too many for a config.json", where, json.size());
  dom::parser parser;
  dom::object root;
  simdjson::error_code error = parser.allocate(std::max<std::size_t>(json.size(), 64), kMaxDepth);
  if (!error) error = parser.parse(simdjson::padded_string(json)).get_object().get(root);
  if (error)
    return fail(ErrorCode::kBadInput, "{}: not a JSON object ({}); use the config.json of the release", where,
                simdjson::error_message(error));

  Reader r(root, where);
  ModelConfig c;
  r.refuse_duplicates();
  refuse_other_models(r);
  c.has_dspark = r.first_key_with("dspark_").has_value();

  c.vocab_size = r.integer("vocab_size", 1, kMaxVocab);
  c.hidden_size = r.integer("hidden_size", 2, kMaxWidth);
  c.num_hidden_layers = r.integer("num_hidden_layers", 1, kMaxLayers);
  c.num_hash_layers = r.integer("num_hash_layers", 0, kMaxLayers);
  // A DSpark draft replaces the one-step block; hadal lists it and runs without.
  c.num_nextn_predict_layers = r.integer_or("num_nextn_predict_layers", 0, 0, 64);
  if (c.has_dspark) c.num_nextn_predict_layers = 0;
  if (c.num_nextn_predict_layers > 1)
    r.complain(ErrorCode::kUnsupported, "num_nextn_predict_layers is {}, hadal runs 0 or 1",
               c.num_nextn_predict_layers);
  c.num_attention_heads = r.integer("num_attention_heads", 1, 1 << 14);
  c.head_dim = r.integer("head_dim", 2, 1 << 14);
  c.qk_rope_head_dim = r.integer("qk_rope_head_dim", 2, 1 << 14);
  c.q_lora_rank = r.integer("q_lora_rank", 1, kMaxWidth);
  c.o_groups = r.integer("o_groups", 1, 1 << 14);
  c.o_lora_rank = r.integer("o_lora_rank", 1, kMaxWidth);
  c.sliding_window = r.integer("sliding_window", 1, kMaxWidth);
  c.index_n_heads = r.integer("index_n_heads", 1, 1 << 14);
  c.index_head_dim = r.integer("index_head_dim", 2, 1 << 14);
  c.index_topk = r.integer("index_topk", 1, kMaxWidth);
  c.n_routed_experts = r.integer("n_routed_experts", 1, kMaxExperts);
  c.num_experts_per_tok = r.integer("num_experts_per_tok", 1, kMaxExperts);
  c.moe_intermediate_size = r.integer("moe_intermediate_size", 2, kMaxWidth);
  c.routed_scaling_factor = r.number("routed_scaling_factor", 1e-6, 1e6);
  c.swiglu_limit = r.number_or("swiglu_limit", 0, 0, 1e30);
  c.hc_mult = r.integer("hc_mult", 1, kMaxStreams);
  c.hc_sinkhorn_iters = r.integer("hc_sinkhorn_iters", 1, 1000);
  c.hc_eps = r.number_or("hc_eps", 1e-6, 0, 1);
  c.rms_norm_eps = r.number("rms_norm_eps", 0, 1);
  c.max_position_embeddings = r.integer("max_position_embeddings", 1, kMaxPositions);
  c.bos_token_id = static_cast<std::int32_t>(r.integer("bos_token_id", 0, kMaxVocab));
  c.eos_token_id = static_cast<std::int32_t>(r.integer("eos_token_id", 0, kMaxVocab));

  r.only_text("scoring_func", "sqrtsoftplus");
  r.only_text("topk_method", "noaux_tc");
  r.only_text("hidden_act", "silu");
  r.only_flag("norm_topk_prob", true);
  r.only_flag("tie_word_embeddings", false);
  r.only_flag("attention_bias", false);
  r.only_integer("num_key_value_heads", 1);
  r.only_integer("n_shared_experts", 1);

  read_rope(r, c);
  read_quantization(r, c);
  read_ratios(r, c);
  if (!r.error()) check_together(r, c);
  if (r.error()) return std::unexpected(*r.error());
  return c;
}

}  // namespace hadal
