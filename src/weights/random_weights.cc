#include "weights/random_weights.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "machine/cores.h"
#include "numbers/bf16.h"
#include "numbers/e2m1.h"
#include "numbers/e4m3.h"

namespace hadal {
namespace {

using Json = nlohmann::ordered_json;

// splitmix64, which any position can be computed of: tensors are filled in parallel and still the same.
std::uint64_t bits_at(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::uint64_t hash_name(const std::string& name, std::uint64_t seed) {
  std::uint64_t h = seed ^ 0xCBF29CE484222325u;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return bits_at(h, 0);
}

// 4,096 draws of the normal distribution stand for all: twelve bits choose one, so a gigabyte takes a second.
constexpr std::size_t kDraws = 4096;
const std::array<double, kDraws>& normal_draws() {
  static const auto draws = [] {
    std::array<double, kDraws> out;
    for (std::size_t i = 0; i < kDraws; ++i) {
      std::uint64_t sum = 0;  // twelve 16-bit uniforms
      for (std::uint64_t j = 0; j < 3; ++j)
        for (std::uint64_t w = bits_at(77, 3 * i + j), k = 0; k < 4; ++k, w >>= 16) sum += w & 0xFFFF;
      out[i] = static_cast<double>(sum) / 65536.0 - 6.0;
    }
    return out;
  }();
  return draws;
}

// Fills `count` elements from a table of kDraws of them; five draws per 64 bits.
template <class T>
void fill(std::byte* out, std::int64_t count, std::uint64_t seed, const std::array<T, kDraws>& table) {
  for (std::int64_t i = 0; i < count;) {
    std::uint64_t w = bits_at(seed, static_cast<std::uint64_t>(i));
    for (int j = 0; j < 5 && i < count; ++j, ++i, w >>= 12)
      std::memcpy(out + i * static_cast<std::int64_t>(sizeof(T)), &table[w & (kDraws - 1)], sizeof(T));
  }
}

template <class T, class Encode>
std::array<T, kDraws> coded(Encode encode) {
  std::array<T, kDraws> out;
  for (std::size_t i = 0; i < kDraws; ++i) out[i] = encode(normal_draws()[i]);
  return out;
}

// Codes of this deviation use most of the format's range: E4M3 reaches 448, E2M1 reaches 6.
constexpr double kFp8Deviation = 96, kFp4Deviation = 2;

std::uint8_t scale_code(double scale) {
  return static_cast<std::uint8_t>(std::clamp(127 + std::lround(std::log2(scale)), 1l, 254l));
}

struct Piece {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  const TensorSpec* spec;
  bool scale;

  std::int64_t bytes() const {
    std::int64_t n = dtype_bytes(dtype);
    for (std::int64_t x : shape) n *= x;
    return n;
  }
};

std::vector<Piece> pieces_of(const TensorTable& table, const ModelConfig& config, bool with_mtp) {
  std::vector<Piece> out;
  for (const TensorSpec& t : table.tensors()) {
    if (t.presence == Presence::kIgnored || (t.presence == Presence::kMtp && !with_mtp)) continue;
    const DType dtype = release_dtype(t.storage);
    const auto form = stored_form(t, dtype, config.weight_block_size);
    if (!form) continue;  // the release's own form always is accepted
    out.push_back({t.name, dtype, form->shape, &t, false});
    if (form->has_scale) out.push_back({t.scale_name(), DType::kE8M0, form->scale_shape, &t, true});
  }
  return out;
}

void expert_ids(const Piece& p, const ModelConfig& config, std::uint64_t seed, std::byte* out) {
  const std::int64_t k = config.num_experts_per_tok, E = config.n_routed_experts;
  for (std::int64_t row = 0; row < p.spec->rows(); ++row) {
    // k distinct experts: a start and a stride that shares no factor with E would do, consecutive ones do too.
    const auto start =
        static_cast<std::int64_t>(bits_at(seed, static_cast<std::uint64_t>(row)) % static_cast<std::uint64_t>(E));
    for (std::int64_t j = 0; j < k; ++j) {
      const std::int64_t id = (start + j) % E;
      std::memcpy(out + (row * k + j) * 8, &id, 8);
    }
  }
}

void fill_piece(const Piece& p, const ModelConfig& config, std::uint64_t base_seed, std::byte* out) {
  const std::uint64_t seed = hash_name(p.name, base_seed);
  const Spread spread = random_spread(*p.spec);
  const std::int64_t count = p.bytes() / dtype_bytes(p.dtype);
  static const auto fp8 = coded<std::uint8_t>([](double x) { return e4m3_from_double(x * kFp8Deviation); });
  static const auto fp4 = coded<std::uint8_t>([](double x) { return e2m1_from_double(x * kFp4Deviation); });
  if (p.scale) {
    const bool expert = p.spec->storage == Storage::kExpert;
    const std::uint8_t code = scale_code(spread.deviation / (expert ? kFp4Deviation : kFp8Deviation));
    for (std::int64_t i = 0; i < count; ++i)  // half of them, a quarter twice and a quarter half as large
      out[i] = static_cast<std::byte>(code + std::array{0, 0, 1, -1}[bits_at(seed, static_cast<std::uint64_t>(i)) & 3]);
    return;
  }
  switch (p.dtype) {
    case DType::kE4M3:
      return fill(out, count, seed, fp8);
    case DType::kI8: {
      fill(out, count, seed, fp4);
      std::vector<std::byte> high(static_cast<std::size_t>(count));
      fill(high.data(), count, seed + 1, fp4);
      for (std::int64_t i = 0; i < count; ++i) out[i] |= high[static_cast<std::size_t>(i)] << 4;
      return;
    }
    case DType::kBF16:
      return fill(out, count, seed, coded<std::uint16_t>([&](double x) {
                    return bf16_from_float(static_cast<float>(spread.mean + spread.deviation * x));
                  }));
    case DType::kF32:
      return fill(out, count, seed,
                  coded<float>([&](double x) { return static_cast<float>(spread.mean + spread.deviation * x); }));
    default:
      return expert_ids(p, config, seed, out);
  }
}

// One shard: filled by all cores, written by one call.
Status write_shard(std::span<const Piece> pieces, const ModelConfig& config, std::uint64_t seed,
                   const std::string& path) {
  std::vector<std::vector<std::byte>> data(pieces.size());
  std::atomic<std::size_t> next{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < available_cores(); ++t)
    threads.emplace_back([&] {
      for (std::size_t i; (i = next.fetch_add(1)) < pieces.size();) {
        data[i].resize(static_cast<std::size_t>(pieces[i].bytes()));
        fill_piece(pieces[i], config, seed, data[i].data());
      }
    });
  threads.clear();
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  for (std::size_t i = 0; i < pieces.size(); ++i)
    HADAL_CHECK_OK(writer.add(pieces[i].name, pieces[i].dtype, pieces[i].shape, data[i]));
  return writer.write(path);
}

Status write_text(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) return fail(ErrorCode::kIo, "{}: cannot write: {}", path, std::strerror(errno));
  return {};
}

}  // namespace

Spread random_spread(const TensorSpec& spec) {
  const double unit = 1 / std::sqrt(static_cast<double>(spec.cols()));  // outputs of unit size
  switch (spec.role) {
    case Role::kEmbed:
      return {0, 0.8};
    case Role::kAttnSink:
      return {0, 1};
    case Role::kGateBias:
      return {0, 0.3};
    case Role::kGate:
      return {0, 2 * unit};
    case Role::kHcAttnBase:
    case Role::kHcFfnBase:
    case Role::kHcHeadBase:
      return {0, 0.6};
    case Role::kHcAttnScale:
    case Role::kHcFfnScale:
    case Role::kHcHeadScale:
      return {1, 0.15};
    case Role::kCompressorApe:
    case Role::kIndexerCompressorApe:
      return {0, 0.7};
    default:
      if (spec.shape.size() == 1) return {1, 0.2};  // norms
      return {0, spec.storage == Storage::kExpert ? 1.2 * unit : unit};
  }
}

std::string config_text(const ModelConfig& m) {
  Json c;
  c["architectures"] = {"DeepseekV4ForCausalLM"};
  c["model_type"] = "deepseek_v4";
  c["vocab_size"] = m.vocab_size;
  c["hidden_size"] = m.hidden_size;
  c["num_hidden_layers"] = m.num_hidden_layers;
  c["num_hash_layers"] = m.num_hash_layers;
  c["num_nextn_predict_layers"] = m.num_nextn_predict_layers;
  c["num_attention_heads"] = m.num_attention_heads;
  c["num_key_value_heads"] = 1;
  c["head_dim"] = m.head_dim;
  c["qk_rope_head_dim"] = m.qk_rope_head_dim;
  c["q_lora_rank"] = m.q_lora_rank;
  c["o_groups"] = m.o_groups;
  c["o_lora_rank"] = m.o_lora_rank;
  c["sliding_window"] = m.sliding_window;
  c["compress_ratios"] = m.compress_ratios;
  c["index_n_heads"] = m.index_n_heads;
  c["index_head_dim"] = m.index_head_dim;
  c["index_topk"] = m.index_topk;
  c["n_routed_experts"] = m.n_routed_experts;
  c["n_shared_experts"] = 1;
  c["num_experts_per_tok"] = m.num_experts_per_tok;
  c["moe_intermediate_size"] = m.moe_intermediate_size;
  c["scoring_func"] = "sqrtsoftplus";
  c["routed_scaling_factor"] = m.routed_scaling_factor;
  c["norm_topk_prob"] = true;
  c["topk_method"] = "noaux_tc";
  c["swiglu_limit"] = m.swiglu_limit;
  c["hidden_act"] = "silu";
  c["hc_mult"] = m.hc_mult;
  c["hc_sinkhorn_iters"] = m.hc_sinkhorn_iters;
  c["hc_eps"] = m.hc_eps;
  c["rms_norm_eps"] = m.rms_norm_eps;
  c["rope_theta"] = m.rope_theta;
  c["compress_rope_theta"] = m.compress_rope_theta;
  c["rope_scaling"] = {{"type", "yarn"},
                       {"factor", m.rope_scaling.factor},
                       {"original_max_position_embeddings", m.rope_scaling.original_max_position_embeddings},
                       {"beta_fast", m.rope_scaling.beta_fast},
                       {"beta_slow", m.rope_scaling.beta_slow}};
  c["max_position_embeddings"] = m.max_position_embeddings;
  c["tie_word_embeddings"] = false;
  c["attention_bias"] = false;
  c["bos_token_id"] = m.bos_token_id;
  c["eos_token_id"] = m.eos_token_id;
  c["torch_dtype"] = "bfloat16";
  c["quantization_config"] = {{"quant_method", "fp8"},
                              {"fmt", "e4m3"},
                              {"scale_fmt", "ue8m0"},
                              {"activation_scheme", "dynamic"},
                              {"weight_block_size", {m.weight_block_size, m.weight_block_size}}};
  return c.dump(2) + "\n";
}

Status write_random_checkpoint(const ModelConfig& config, const std::string& directory,
                               const RandomCheckpointOptions& options) {
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  if (failed) return fail(ErrorCode::kIo, "{}: cannot create the directory: {}", directory, failed.message());
  if (std::filesystem::exists(directory + "/config.json"))
    return fail(ErrorCode::kUsage, "{} already holds a checkpoint; name a directory that does not", directory);

  const TensorTable table(config);
  const std::vector<Piece> pieces = pieces_of(table, config, options.with_mtp);
  std::vector<std::size_t> starts = {0};  // of shards
  std::int64_t all = 0, in_shard = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (in_shard > 0 && in_shard + pieces[i].bytes() > options.shard_bytes) {
      starts.push_back(i);
      in_shard = 0;
    }
    in_shard += pieces[i].bytes();
    all += pieces[i].bytes();
  }
  const std::size_t shards = starts.size();
  starts.push_back(pieces.size());

  Json places = Json::object();
  std::int64_t done = 0;
  for (std::size_t s = 0; s < shards; ++s) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards);
    const auto part = std::span(pieces).subspan(starts[s], starts[s + 1] - starts[s]);
    HADAL_CHECK_OK(write_shard(part, config, options.seed, directory + "/" + file));
    for (const Piece& p : part) {
      places[p.name] = file;
      done += p.bytes();
    }
    if (options.progress && !options.progress(done, all))
      return fail(ErrorCode::kCancelled, "stopped after {} of {} bytes; {} is not complete", done, all, directory);
  }
  const Json index = {{"metadata", {{"total_size", all}}}, {"weight_map", std::move(places)}};
  HADAL_CHECK_OK(write_text(directory + "/model.safetensors.index.json", index.dump(1) + "\n"));
  HADAL_CHECK_OK(
      write_text(directory + "/generation_config.json",
                 R"({"bos_token_id": 0, "eos_token_id": 1, "do_sample": true, "temperature": 1.0, "top_p": 1.0})"
                 "\n"));
  return write_text(directory + "/config.json", config_text(config));  // last: without it there is no checkpoint
}

}  // namespace hadal
