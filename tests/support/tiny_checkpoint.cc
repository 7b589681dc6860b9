#include "support/tiny_checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "numbers/bf16.h"
#include "numbers/e2m1.h"
#include "numbers/e4m3.h"
#include "weights/random_weights.h"

namespace hadal::test {
namespace {

using Json = nlohmann::ordered_json;

// The same numbers with every standard library: splitmix64, and a sum of twelve uniforms for the normal distribution.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double normal() {
    std::uint64_t sum = 0;  // twelve 16-bit uniforms out of three words
    for (int i = 0; i < 3; ++i)
      for (std::uint64_t w = bits(), j = 0; j < 4; ++j, w >>= 16) sum += w & 0xFFFF;
    return static_cast<double>(sum) / 65536.0 - 6.0;
  }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(n)); }

 private:
  std::uint64_t state_;
};

Json config_json(const TinyShape& s) {
  ModelConfig m;
  m.vocab_size = s.vocab_size;
  m.hidden_size = s.hidden_size;
  m.num_hidden_layers = static_cast<std::int64_t>(s.compress_ratios.size());
  m.num_hash_layers = s.num_hash_layers;
  m.num_nextn_predict_layers = s.mtp ? 1 : 0;
  m.num_attention_heads = s.num_attention_heads;
  m.head_dim = s.head_dim;
  m.qk_rope_head_dim = s.qk_rope_head_dim;
  m.q_lora_rank = s.q_lora_rank;
  m.o_groups = s.o_groups;
  m.o_lora_rank = s.o_lora_rank;
  m.sliding_window = s.sliding_window;
  m.compress_ratios = s.compress_ratios;
  m.compress_ratios.resize(s.compress_ratios.size() + (s.dspark ? 3 : s.mtp ? 1 : 0), 0);
  m.index_n_heads = s.index_n_heads;
  m.index_head_dim = s.index_head_dim;
  m.index_topk = s.index_topk;
  m.n_routed_experts = s.n_routed_experts;
  m.num_experts_per_tok = s.num_experts_per_tok;
  m.moe_intermediate_size = s.moe_intermediate_size;
  m.routed_scaling_factor = s.routed_scaling_factor;
  m.swiglu_limit = s.swiglu_limit;
  m.hc_mult = s.hc_mult;
  m.hc_sinkhorn_iters = s.hc_sinkhorn_iters;
  m.rope_scaling = {.factor = 16, .original_max_position_embeddings = 65536, .beta_fast = 32, .beta_slow = 1};
  m.max_position_embeddings = 1048576;
  Json c = Json::parse(config_text(m));
  if (s.dspark) {
    c["dspark_block_size"] = 5;
    c["dspark_noise_token_id"] = 2;
    c["dspark_target_layer_ids"] = {0, 1, 2};
    c["dspark_markov_rank"] = 8;
  }
  return c;
}

class Generator {
 public:
  Generator(TinyCheckpoint& out, const TinyShape& shape, std::uint64_t seed)
      : out_(out), shape_(shape), random_(seed) {}

  void tensor(const TensorSpec& spec) {
    const std::vector<double> x = values(spec);
    switch (spec.storage) {
      case Storage::kFp8:
        return shape_.plain ? f32(spec, x) : fp8(spec, x);
      case Storage::kExpert:
        return shape_.plain ? f32(spec, x) : shape_.fp8_experts ? fp8(spec, x) : fp4(spec, x);
      // The embedding stays BF16 even in a plain checkpoint: it is read in place.
      case Storage::kBf16:
        return shape_.plain && spec.role != Role::kEmbed ? f32(spec, x) : bf16(spec.name, spec.shape, x);
      case Storage::kF32:
        return f32(spec, x);
      case Storage::kI64:
        return expert_ids(spec);
    }
  }

  void bf16(const std::string& name, std::vector<std::int64_t> shape, const std::vector<double>& x) {
    TinyTensor& t = add(name, DType::kBF16, std::move(shape));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::uint16_t bits = bf16_from_float(static_cast<float>(x[i]));
      std::memcpy(&t.bytes[2 * i], &bits, 2);
    }
  }

 private:
  TinyTensor& add(const std::string& name, DType dtype, std::vector<std::int64_t> shape) {
    std::int64_t bytes = dtype_bytes(dtype);
    for (std::int64_t n : shape) bytes *= n;
    out_.tensors.push_back({name, dtype, std::move(shape), std::vector<std::uint8_t>(static_cast<std::size_t>(bytes))});
    return out_.tensors.back();
  }

  std::vector<double> values(const TensorSpec& spec) {
    const Spread spread = random_spread(spec);
    std::vector<double> x(static_cast<std::size_t>(spec.elements()));
    for (double& v : x) v = spread.mean + spread.deviation * random_.normal();
    return x;
  }

  void f32(const TensorSpec& spec, const std::vector<double>& x) {
    TinyTensor& t = add(spec.name, DType::kF32, spec.shape);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto v = static_cast<float>(x[i]);
      std::memcpy(&t.bytes[4 * i], &v, 4);
    }
  }

  // Codes and scales of blocks of block_rows x block_cols; a power-of-two scale, or with F32 scales exactly amax/max.
  void blocks(const TensorSpec& spec, const std::vector<double>& x, std::int64_t block_rows, std::int64_t block_cols,
              double max, std::uint8_t (*encode)(double), bool f32_scale, std::vector<std::uint8_t>& codes) {
    const std::int64_t rows = spec.rows(), cols = spec.cols(), down = ceil_div(rows, block_rows),
                       across = ceil_div(cols, block_cols);
    TinyTensor& scales = add(spec.scale_name(), f32_scale ? DType::kF32 : DType::kE8M0, {down, across});
    codes.resize(x.size());
    for (std::int64_t i = 0; i < down; ++i)
      for (std::int64_t j = 0; j < across; ++j) {
        const std::int64_t r1 = std::min(rows, (i + 1) * block_rows), c1 = std::min(cols, (j + 1) * block_cols);
        double amax = 1e-12;
        for (std::int64_t r = i * block_rows; r < r1; ++r)
          for (std::int64_t c = j * block_cols; c < c1; ++c)
            amax = std::max(amax, std::abs(x[static_cast<std::size_t>(r * cols + c)]));
        const int exponent = static_cast<int>(std::ceil(std::log2(amax / max)));
        const double scale =
            f32_scale ? static_cast<double>(static_cast<float>(amax / max)) : std::ldexp(1.0, exponent);
        const auto as_float = static_cast<float>(scale);
        if (f32_scale)
          std::memcpy(&scales.bytes[static_cast<std::size_t>(4 * (i * across + j))], &as_float, 4);
        else
          scales.bytes[static_cast<std::size_t>(i * across + j)] = static_cast<std::uint8_t>(exponent + 127);
        for (std::int64_t r = i * block_rows; r < r1; ++r)
          for (std::int64_t c = j * block_cols; c < c1; ++c) {
            const auto at = static_cast<std::size_t>(r * cols + c);
            codes[at] = encode(x[at] / scale);
          }
      }
  }

  void fp8(const TensorSpec& spec, const std::vector<double>& x) {
    std::vector<std::uint8_t> codes;
    blocks(spec, x, 128, 128, kE4m3Max, e4m3_from_double, shape_.f32_scales, codes);
    add(spec.name, DType::kE4M3, spec.shape).bytes = std::move(codes);
  }

  void fp4(const TensorSpec& spec, const std::vector<double>& x) {
    std::vector<std::uint8_t> codes;
    blocks(spec, x, 1, 32, kE2m1Max, e2m1_from_double, false, codes);
    TinyTensor& t = add(spec.name, DType::kI8, {spec.rows(), spec.cols() / 2});
    for (std::size_t i = 0; i < t.bytes.size(); ++i)
      t.bytes[i] = static_cast<std::uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
  }

  // k different experts per token.
  void expert_ids(const TensorSpec& spec) {
    TinyTensor& t = add(spec.name, DType::kI64, spec.shape);
    std::vector<std::int64_t> ids(static_cast<std::size_t>(shape_.n_routed_experts));
    for (std::int64_t row = 0; row < spec.rows(); ++row) {
      for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
      for (std::int64_t k = 0; k < spec.cols(); ++k) {
        std::swap(ids[static_cast<std::size_t>(k)],
                  ids[static_cast<std::size_t>(k + random_.below(shape_.n_routed_experts - k))]);
        std::memcpy(&t.bytes[static_cast<std::size_t>(8 * (row * spec.cols() + k))], &ids[static_cast<std::size_t>(k)],
                    8);
      }
    }
  }

  TinyCheckpoint& out_;
  const TinyShape& shape_;
  Random random_;
};

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "hadal_test_XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}
TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}
std::string TemporaryFolder::write(const std::string& name, const std::string& text) const {
  const std::string target = file(name);
  std::filesystem::create_directories(std::filesystem::path(target).parent_path());
  std::ofstream(target, std::ios::binary) << text;
  return target;
}

TinyShape tiny_flash() { return {}; }

TinyShape tiny_pro() {
  TinyShape s;
  s.compress_ratios = {128, 128, 4, 128, 4};
  s.num_hash_layers = 2;
  s.head_dim = 192;
  s.num_attention_heads = 8;
  s.o_groups = 4;
  s.sliding_window = 32;
  s.swiglu_limit = 10;
  s.shards = 3;
  return s;
}

TinyShape tiny_base() {
  TinyShape s;
  s.compress_ratios = {0, 4, 128};
  s.fp8_experts = s.f32_scales = true;
  return s;
}

TinyShape tiny_odd() {
  TinyShape s;
  s.vocab_size = 300;
  s.hidden_size = 96;
  s.moe_intermediate_size = 80;
  s.head_dim = 192;
  s.q_lora_rank = 72;
  s.num_attention_heads = 6;
  s.o_groups = 6;
  s.o_lora_rank = 24;  // group 5 has rows 120 to 143: a tile of 16 crosses the scale block boundary at 128
  s.index_n_heads = 3;
  s.index_topk = 5;
  s.sliding_window = 7;
  s.n_routed_experts = 5;
  s.num_experts_per_tok = 3;
  s.hc_mult = 3;
  s.swiglu_limit = 0;
  return s;
}

TinyShape tiny_0731() {
  TinyShape s;
  s.dspark = true;
  s.mtp = false;
  s.chat_generation = "0731";
  return s;
}

TinyCheckpoint TinyCheckpoint::generate(const TinyShape& shape, std::uint64_t seed) {
  TinyCheckpoint out;
  out.config = config_json(shape).dump(2);
  out.shards = shape.shards;
  const ModelConfig config = parse_config(out.config, "tiny config.json").value();
  Generator generator(out, shape, seed);
  const TensorTable table(config);
  for (const TensorSpec& spec : table.tensors())
    if (spec.presence != Presence::kIgnored || shape.f32_scales) generator.tensor(spec);
  if (shape.dspark) {
    // What public loaders read from a draft; shapes are immaterial here since hadal does not run it.
    const auto d = shape.hidden_size;
    generator.bf16("mtp.0.main_proj.weight", {d, 3 * d}, std::vector<double>(static_cast<std::size_t>(3 * d * d), 0.5));
    generator.bf16("mtp.0.main_norm.weight", {d}, std::vector<double>(static_cast<std::size_t>(d), 1));
    for (int b = 0; b < 3; ++b)
      generator.bf16("mtp." + std::to_string(b) + ".attn_norm.weight", {d},
                     std::vector<double>(static_cast<std::size_t>(d), 1));
    generator.bf16("mtp.2.markov_head.markov_w1.weight", {8, d},
                   std::vector<double>(static_cast<std::size_t>(8 * d), 0.1));
    generator.bf16("mtp.2.confidence_head.proj.weight", {1, d}, std::vector<double>(static_cast<std::size_t>(d), 0.1));
  }
  if (shape.chat_generation == "0731")
    out.encoding_py =
        "import re\n\nREASONING_EFFORT_PROMPTS = {\n    \"high\": \"...\",\n}\nDEFAULT_REASONING_EFFORT = \"low\"\n";
  else if (shape.chat_generation == "preview")
    out.encoding_py = "import re\n\nREASONING_EFFORT_MAX = \"...\"\n";
  return out;
}

TinyTensor* TinyCheckpoint::find(const std::string& name) {
  auto it = std::find_if(tensors.begin(), tensors.end(), [&](const TinyTensor& t) { return t.name == name; });
  return it == tensors.end() ? nullptr : &*it;
}

void TinyCheckpoint::remove(const std::string& name) {
  std::erase_if(tensors, [&](const TinyTensor& t) { return t.name == name; });
}

void TinyCheckpoint::set_config(const std::string& key, const std::string& json_value) {
  Json c = Json::parse(config);
  c[key] = Json::parse(json_value);
  config = c.dump(2);
}

void TinyCheckpoint::remove_config(const std::string& key) {
  Json c = Json::parse(config);
  c.erase(key);
  config = c.dump(2);
}

Status TinyCheckpoint::write(const std::string& directory) const {
  std::filesystem::create_directories(directory);
  std::ofstream(directory + "/config.json", std::ios::binary) << config;
  std::ofstream(directory + "/generation_config.json")
      << R"({"bos_token_id": 0, "eos_token_id": 1, "do_sample": true, "temperature": 1.0, "top_p": 1.0})";
  if (!encoding_py.empty()) {
    std::filesystem::create_directories(directory + "/encoding");
    std::ofstream(directory + "/encoding/encoding_dsv4.py") << encoding_py;
  }
  Json weight_map = Json::object();
  std::uint64_t total = 0;
  const std::size_t per_shard =
      (tensors.size() + static_cast<std::size_t>(shards) - 1) / static_cast<std::size_t>(shards);
  for (int s = 0; s < shards; ++s) {
    SafetensorsWriter writer;
    writer.set_metadata("format", "pt");
    const std::string file =
        shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards);
    for (std::size_t i = static_cast<std::size_t>(s) * per_shard;
         i < std::min(tensors.size(), (static_cast<std::size_t>(s) + 1) * per_shard); ++i) {
      const TinyTensor& t = tensors[i];
      HADAL_CHECK_OK(writer.add(t.name, t.dtype, t.shape, std::as_bytes(std::span(t.bytes))));
      weight_map[t.name] = file;
      total += t.bytes.size();
    }
    HADAL_CHECK_OK(writer.write(directory + "/" + file));
  }
  if (shards > 1) {
    const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
    std::ofstream(directory + "/model.safetensors.index.json") << index.dump(1);
  }
  return {};
}

}  // namespace hadal::test
