#include "plan/trial_weights.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/span.h"
#include "machine/thread_pool.h"
#include "weights/pack.h"

namespace hadal {
namespace {

constexpr std::int64_t kAlign = 64;

struct Part {
  PackedMatrix* out;
  std::int64_t tiles, scales;  // offsets in the arena
};

// Lays out matrices one after the other, then points them at memory.
class Builder {
 public:
  Builder(const ModelConfig& config, const TensorTable& table, const DTypeOf& dtype_of)
      : config_(config), table_(table), dtype_of_(dtype_of) {}

  std::int64_t bytes() const { return bytes_; }

  void matrix(PackedMatrix& out, Role role, std::int64_t layer, std::int64_t expert = kNoExpert) {
    place(out, role, layer, expert, 1);
  }
  // Rows of a vocabulary matrix, fewer than the model has.
  void rows(PackedMatrix& out, Role role, std::int64_t count) {
    StoredMatrix m = stored(role, kNoLayer, kNoExpert, 1);
    m.rows = count;
    add(out, m);
  }
  void groups(std::vector<PackedMatrix>& out, Role role, std::int64_t layer) {
    out.resize(static_cast<std::size_t>(config_.o_groups));
    for (PackedMatrix& m : out) place(m, role, layer, kNoExpert, config_.o_groups);
  }
  std::int64_t take(std::int64_t bytes) { return std::exchange(bytes_, round_up(bytes_ + bytes, kAlign)); }

  void point(const Arena& arena) const {
    for (const Part& p : parts_) {
      p.out->tiles = arena.at(p.tiles);
      if (p.out->encoding == Encoding::kFp8) p.out->scales = reinterpret_cast<const float*>(arena.at(p.scales));
    }
  }
  const std::vector<Part>& parts() const { return parts_; }

 private:
  StoredMatrix stored(Role role, std::int64_t layer, std::int64_t expert, std::int64_t groups) const {
    const TensorSpec& spec = *table_.find(role, layer, expert);
    StoredMatrix m;
    m.dtype = dtype_of_(spec);
    m.rows = spec.rows() / groups;
    m.cols = spec.cols();
    m.block = config_.weight_block_size;
    return m;
  }
  void place(PackedMatrix& out, Role role, std::int64_t layer, std::int64_t expert, std::int64_t groups) {
    add(out, stored(role, layer, expert, groups));
  }
  void add(PackedMatrix& out, const StoredMatrix& m) {
    const Encoding encoding = packed_encoding(m);
    out = {encoding, m.rows, m.cols, nullptr, nullptr};
    const std::int64_t tiles = take(out.bytes());
    parts_.push_back({&out, tiles, take(4 * packed_scale_count(m, encoding))});
  }

  const ModelConfig& config_;
  const TensorTable& table_;
  const DTypeOf& dtype_of_;
  std::vector<Part> parts_;
  std::int64_t bytes_ = 0;
};

void compressor(Builder& b, CompressorWeights& w, std::int64_t layer, bool of_indexer, const float* ones) {
  b.matrix(w.wkv, of_indexer ? Role::kIndexerCompressorWkv : Role::kCompressorWkv, layer);
  b.matrix(w.wgate, of_indexer ? Role::kIndexerCompressorWgate : Role::kCompressorWgate, layer);
  w.ape = w.norm = ones;
}

// Everything of a layer but its routed experts.
void dense_part(Builder& b, BlockWeights& w, const ModelConfig& config, std::int64_t layer, const float* ones) {
  w.attn_norm = w.ffn_norm = ones;
  b.matrix(w.hc_attn.fn, Role::kHcAttnFn, layer);
  b.matrix(w.hc_ffn.fn, Role::kHcFfnFn, layer);
  w.hc_attn.base = w.hc_attn.scale = w.hc_ffn.base = w.hc_ffn.scale = ones;
  AttentionWeights& a = w.attn;
  b.matrix(a.wq_a, Role::kWqA, layer);
  b.matrix(a.wq_b, Role::kWqB, layer);
  b.matrix(a.wkv, Role::kWkv, layer);
  a.q_norm = a.kv_norm = a.attn_sink = ones;
  b.groups(a.wo_a, Role::kWoA, layer);
  b.matrix(a.wo_b, Role::kWoB, layer);
  if (config.kind(layer) != AttentionKind::kSwa) compressor(b, a.compressor, layer, false, ones);
  if (config.kind(layer) == AttentionKind::kCsa) {
    b.matrix(a.indexer.wq_b, Role::kIndexerWqB, layer);
    b.matrix(a.indexer.weights_proj, Role::kIndexerWeightsProj, layer);
    compressor(b, a.indexer.compressor, layer, true, ones);
  }
  b.matrix(w.ffn.gate, Role::kGate, layer);
  b.matrix(w.ffn.shared.w1, Role::kSharedW1, layer);
  b.matrix(w.ffn.shared.w2, Role::kSharedW2, layer);
  b.matrix(w.ffn.shared.w3, Role::kSharedW3, layer);
}

void expert_part(Builder& b, ExpertWeights& w, std::int64_t layer, std::int64_t expert) {
  b.matrix(w.w1, Role::kExpertW1, layer, expert);
  b.matrix(w.w2, Role::kExpertW2, layer, expert);
  b.matrix(w.w3, Role::kExpertW3, layer, expert);
}

// Positive numbers below 2 in every format, and scales of about a hundredth; made once and copied.
void fill(const Arena& arena, const std::vector<Part>& parts, ThreadPool& pool) {
  constexpr std::int64_t kPattern = std::int64_t{4} << 20;
  std::vector<std::byte> pattern(static_cast<std::size_t>(kPattern));
  std::uint64_t x = 0x9E3779B97F4A7C15ull;  // xorshift: any bytes do, as long as they are not all alike
  for (std::size_t i = 0; i < pattern.size(); i += 8) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    const std::uint64_t word = x & 0x3f3f3f3f3f3f3f3full;
    std::memcpy(pattern.data() + i, &word, 8);
  }
  pool.for_each(ceil_div(arena.bytes(), kPattern), [&](std::int64_t i, int) {
    std::memcpy(arena.at(i * kPattern), pattern.data(),
                static_cast<std::size_t>(std::min(kPattern, arena.bytes() - i * kPattern)));
  });
  pool.for_each(static_cast<std::int64_t>(parts.size()), [&](std::int64_t i, int) {
    const PackedMatrix& m = *parts[static_cast<std::size_t>(i)].out;
    auto* tiles = const_cast<std::byte*>(m.tiles);
    if (m.encoding == Encoding::kFp4) {
      constexpr std::byte kScale{120};  // E8M0 for 2^-7
      for (std::int64_t at = 256; at < m.bytes(); at += kFp4TileBytes) std::fill_n(tiles + at, 16, kScale);
    }
    if (m.encoding == Encoding::kFp8)
      std::fill_n(const_cast<float*>(m.scales), m.tile_count() * m.scale_blocks(), 0.01f);
  });
}

// One of each kind, then in order while the weights could stay in a cache.
std::vector<std::int64_t> chosen_layers(const ModelConfig& config, std::int64_t bytes_per_layer,
                                        std::int64_t cold_bytes) {
  std::set<std::int64_t> chosen;
  std::set<std::int64_t> ratios;
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l)
    if (ratios.insert(config.ratio(l)).second) chosen.insert(l);
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l)
    if (static_cast<std::int64_t>(chosen.size()) * bytes_per_layer < cold_bytes) chosen.insert(l);
  return {chosen.begin(), chosen.end()};
}

}  // namespace

Result<TrialWeights> make_trial_weights(const ModelConfig& config, const TensorTable& table, const DTypeOf& dtype_of,
                                        std::int64_t cold_bytes, std::int64_t most_bytes) {
  TrialWeights out;
  ModelWeights& w = out.weights;
  const std::int64_t E = config.n_routed_experts;
  // As many experts as any vector needs ones: the widest are norms [d], position biases and expert biases.
  out.ones.assign(static_cast<std::size_t>(std::max({config.hidden_size, config.q_lora_rank, E,
                                                     1024 * 2 * config.head_dim, config.num_attention_heads})),
                  1.0f);
  const float* ones = out.ones.data();

  BlockWeights probe;
  ExpertWeights probe_expert;
  Builder sizes(config, table, dtype_of);
  expert_part(sizes, probe_expert, 0, 0);
  const std::int64_t expert_bytes = sizes.bytes();
  dense_part(sizes, probe, config, 0, ones);
  const std::int64_t dense_bytes = sizes.bytes() - expert_bytes;

  out.layers = chosen_layers(config, dense_bytes + E * expert_bytes, cold_bytes);
  const auto count = static_cast<std::int64_t>(out.layers.size());
  // Places for experts: beyond the caches, and more than two tokens choose.
  const std::int64_t places =
      std::min(count * E,
               std::max(2 * config.num_experts_per_tok, ceil_div(cold_bytes, std::max<std::int64_t>(expert_bytes, 1))));

  Builder b(config, table, dtype_of);
  w.layers.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    dense_part(b, w.layers[static_cast<std::size_t>(i)], config, out.layers[static_cast<std::size_t>(i)], ones);
  std::vector<ExpertWeights> pool_of_experts(static_cast<std::size_t>(places));
  for (std::int64_t p = 0; p < places; ++p)
    expert_part(b, pool_of_experts[static_cast<std::size_t>(p)], out.layers.front(), p % E);
  const std::int64_t head_row_bytes = 2 * config.hidden_size;
  out.vocabulary = std::min(config.vocab_size, std::max<std::int64_t>(1024, ceil_div(cold_bytes / 2, head_row_bytes)));
  b.rows(w.head, Role::kHead, out.vocabulary);
  b.matrix(w.hc_head.fn, Role::kHcHeadFn, kNoLayer);
  const std::int64_t embed_at = b.take(out.vocabulary * head_row_bytes);
  if (b.bytes() > most_bytes)
    return fail(ErrorCode::kNoMemory, "timing a few layers takes {} MB of memory, {} MB may be used", b.bytes() >> 20,
                most_bytes >> 20);
  out.arena = HADAL_TRY(Arena::reserve(b.bytes()));
  b.point(out.arena);
  {
    ThreadPool pool(0);
    fill(out.arena, b.parts(), pool);
  }
  w.embed = Embedding(reinterpret_cast<const std::uint16_t*>(out.arena.at(embed_at)), config.hidden_size);
  w.norm = w.hc_head.base = w.hc_head.scale = ones;
  for (std::int64_t i = 0; i < count; ++i) {
    std::vector<ExpertWeights>& experts = w.layers[static_cast<std::size_t>(i)].ffn.experts;
    experts.resize(static_cast<std::size_t>(E));
    for (std::int64_t e = 0; e < E; ++e)
      experts[static_cast<std::size_t>(e)] = pool_of_experts[static_cast<std::size_t>((i * E + e) % places)];
  }

  out.config = config;
  out.config.num_hidden_layers = out.config.num_hash_layers = count;
  out.config.num_nextn_predict_layers = 0;
  out.config.vocab_size = out.vocabulary;
  out.config.compress_ratios.clear();
  for (std::int64_t l : out.layers) out.config.compress_ratios.push_back(config.ratio(l));
  w.config = out.config;
  return out;
}

}  // namespace hadal
