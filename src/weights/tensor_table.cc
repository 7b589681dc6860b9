#include "weights/tensor_table.h"

#include <array>
#include <functional>
#include <utility>

#include "base/span.h"

namespace hadal {
namespace {

using Shape = std::vector<std::int64_t>;

// Collects one layer's, or the model's, tensors under a name prefix.
struct Builder {
  std::vector<TensorSpec>& out;
  std::string prefix;
  std::int64_t layer;
  Presence presence = Presence::kRequired;
  bool mtp = false;

  void add(Role role, Storage storage, TensorClass group, std::string_view name, Shape shape,
           std::int64_t expert = kNoExpert) {
    out.push_back({role, storage, mtp ? TensorClass::kMtp : group, presence, layer, expert, prefix + std::string(name),
                   std::move(shape)});
  }
};

void add_head_collapse(Builder& b, const ModelConfig& c) {
  const auto n = c.hc_mult, d = c.hidden_size;
  b.add(Role::kHcHeadFn, Storage::kF32, TensorClass::kHyperConnection, "hc_head_fn", {n, n * d});
  b.add(Role::kHcHeadBase, Storage::kF32, TensorClass::kHyperConnection, "hc_head_base", {n});
  b.add(Role::kHcHeadScale, Storage::kF32, TensorClass::kHyperConnection, "hc_head_scale", {1});
}

void add_hyper_connections(Builder& b, const ModelConfig& c) {
  const auto n = c.hc_mult, d = c.hidden_size, m = (2 + n) * n;
  const auto group = TensorClass::kHyperConnection;
  b.add(Role::kHcAttnFn, Storage::kF32, group, "hc_attn_fn", {m, n * d});
  b.add(Role::kHcAttnBase, Storage::kF32, group, "hc_attn_base", {m});
  b.add(Role::kHcAttnScale, Storage::kF32, group, "hc_attn_scale", {3});
  b.add(Role::kHcFfnFn, Storage::kF32, group, "hc_ffn_fn", {m, n * d});
  b.add(Role::kHcFfnBase, Storage::kF32, group, "hc_ffn_base", {m});
  b.add(Role::kHcFfnScale, Storage::kF32, group, "hc_ffn_scale", {3});
}

void add_attention(Builder& b, const ModelConfig& c) {
  const auto d = c.hidden_size, Q = c.q_lora_rank, H = c.num_attention_heads, D = c.head_dim, G = c.o_groups,
             R = c.o_lora_rank;
  const auto group = TensorClass::kAttention;
  b.add(Role::kWqA, Storage::kFp8, group, "attn.wq_a.weight", {Q, d});
  b.add(Role::kQNorm, Storage::kBf16, TensorClass::kNorms, "attn.q_norm.weight", {Q});
  b.add(Role::kWqB, Storage::kFp8, group, "attn.wq_b.weight", {H * D, Q});
  b.add(Role::kWkv, Storage::kFp8, group, "attn.wkv.weight", {D, d});
  b.add(Role::kKvNorm, Storage::kBf16, TensorClass::kNorms, "attn.kv_norm.weight", {D});
  b.add(Role::kAttnSink, Storage::kF32, group, "attn.attn_sink", {H});
  b.add(Role::kWoA, Storage::kFp8, group, "attn.wo_a.weight", {G * R, H * D / G});
  b.add(Role::kWoB, Storage::kFp8, group, "attn.wo_b.weight", {d, G * R});
}

// Overlapping windows (ratio 4) need two halves per entry, one for the window's own entry and one for the next.
void add_compressor(Builder& b, const ModelConfig& c, std::int64_t ratio) {
  const auto d = c.hidden_size, D = c.head_dim, k = ratio == 4 ? std::int64_t{2} : std::int64_t{1};
  const auto group = TensorClass::kCompressor;
  b.add(Role::kCompressorWkv, Storage::kBf16, group, "attn.compressor.wkv.weight", {k * D, d});
  b.add(Role::kCompressorWgate, Storage::kBf16, group, "attn.compressor.wgate.weight", {k * D, d});
  b.add(Role::kCompressorApe, Storage::kF32, group, "attn.compressor.ape", {ratio, k * D});
  b.add(Role::kCompressorNorm, Storage::kBf16, group, "attn.compressor.norm.weight", {D});
}

void add_indexer(Builder& b, const ModelConfig& c) {
  const auto d = c.hidden_size, h = c.index_n_heads, i = c.index_head_dim;
  const auto group = TensorClass::kIndexer;
  b.add(Role::kIndexerWqB, Storage::kFp8, group, "attn.indexer.wq_b.weight", {h * i, c.q_lora_rank});
  b.add(Role::kIndexerWeightsProj, Storage::kBf16, group, "attn.indexer.weights_proj.weight", {h, d});
  b.add(Role::kIndexerCompressorWkv, Storage::kBf16, group, "attn.indexer.compressor.wkv.weight", {2 * i, d});
  b.add(Role::kIndexerCompressorWgate, Storage::kBf16, group, "attn.indexer.compressor.wgate.weight", {2 * i, d});
  b.add(Role::kIndexerCompressorApe, Storage::kF32, group, "attn.indexer.compressor.ape", {4, 2 * i});
  b.add(Role::kIndexerCompressorNorm, Storage::kBf16, group, "attn.indexer.compressor.norm.weight", {i});
}

void add_experts(Builder& b, const ModelConfig& c, bool hashed) {
  const auto d = c.hidden_size, E = c.n_routed_experts, I = c.moe_intermediate_size;
  b.add(Role::kGate, Storage::kBf16, TensorClass::kRouter, "ffn.gate.weight", {E, d});
  if (hashed) {
    b.add(Role::kGateTid2eid, Storage::kI64, TensorClass::kRouter, "ffn.gate.tid2eid",
          {c.vocab_size, c.num_experts_per_tok});
  } else {
    b.add(Role::kGateBias, Storage::kF32, TensorClass::kRouter, "ffn.gate.bias", {E});
  }
  for (std::int64_t e = 0; e < E; ++e) {
    const auto expert = fmt::format("ffn.experts.{}.", e);
    b.add(Role::kExpertW1, Storage::kExpert, TensorClass::kRoutedExperts, expert + "w1.weight", {I, d}, e);
    b.add(Role::kExpertW2, Storage::kExpert, TensorClass::kRoutedExperts, expert + "w2.weight", {d, I}, e);
    b.add(Role::kExpertW3, Storage::kExpert, TensorClass::kRoutedExperts, expert + "w3.weight", {I, d}, e);
  }
  b.add(Role::kSharedW1, Storage::kFp8, TensorClass::kSharedExperts, "ffn.shared_experts.w1.weight", {I, d});
  b.add(Role::kSharedW2, Storage::kFp8, TensorClass::kSharedExperts, "ffn.shared_experts.w2.weight", {d, I});
  b.add(Role::kSharedW3, Storage::kFp8, TensorClass::kSharedExperts, "ffn.shared_experts.w3.weight", {I, d});
}

void add_layer(Builder& b, const ModelConfig& c, std::int64_t ratio, bool hashed) {
  const auto d = c.hidden_size;
  add_hyper_connections(b, c);
  b.add(Role::kAttnNorm, Storage::kBf16, TensorClass::kNorms, "attn_norm.weight", {d});
  add_attention(b, c);
  if (ratio > 0) add_compressor(b, c, ratio);
  if (ratio == 4) add_indexer(b, c);
  b.add(Role::kFfnNorm, Storage::kBf16, TensorClass::kNorms, "ffn_norm.weight", {d});
  add_experts(b, c, hashed);
}

void add_mtp(Builder& b, const ModelConfig& c) {
  const auto d = c.hidden_size, V = c.vocab_size;
  const auto group = TensorClass::kMtp;
  b.add(Role::kMtpEProj, Storage::kFp8, group, "e_proj.weight", {d, d});
  b.add(Role::kMtpHProj, Storage::kFp8, group, "h_proj.weight", {d, d});
  b.add(Role::kMtpENorm, Storage::kBf16, group, "enorm.weight", {d});
  b.add(Role::kMtpHNorm, Storage::kBf16, group, "hnorm.weight", {d});
  add_layer(b, c, 0, false);
  b.add(Role::kNorm, Storage::kBf16, group, "norm.weight", {d});
  add_head_collapse(b, c);
  b.presence = Presence::kIgnored;
  b.add(Role::kMtpHeadCopy, Storage::kBf16, group, "head.weight", {V, d});
  b.add(Role::kMtpEmbedCopy, Storage::kBf16, group, "emb.tok_emb.weight", {V, d});
}

std::uint64_t role_key(Role role, std::int64_t layer, std::int64_t expert) {
  return static_cast<std::uint64_t>(role) | static_cast<std::uint64_t>(layer + 1) << 8 |
         static_cast<std::uint64_t>(expert + 1) << 32;
}

}  // namespace

TensorTable::TensorTable(const ModelConfig& c) {
  const auto d = c.hidden_size, V = c.vocab_size, L = c.num_hidden_layers;
  Builder top{tensors_, "", kNoLayer};
  top.add(Role::kEmbed, Storage::kBf16, TensorClass::kVocabulary, "embed.weight", {V, d});
  for (std::int64_t l = 0; l < L; ++l) {
    Builder layer{tensors_, fmt::format("layers.{}.", l), l};
    add_layer(layer, c, c.ratio(l), l < c.num_hash_layers);
  }
  add_head_collapse(top, c);
  top.add(Role::kNorm, Storage::kBf16, TensorClass::kNorms, "norm.weight", {d});
  top.add(Role::kHead, Storage::kBf16, TensorClass::kVocabulary, "head.weight", {V, d});
  if (c.num_nextn_predict_layers > 0) {
    Builder mtp{tensors_, "mtp.0.", L, Presence::kMtp, true};
    add_mtp(mtp, c);
  }
  by_name_.reserve(tensors_.size());
  by_role_.reserve(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const TensorSpec& t = tensors_[i];
    by_name_.emplace(t.name, i);
    by_role_.emplace(role_key(t.role, t.layer, t.expert), i);
  }
}

const TensorSpec* TensorTable::find(std::string_view name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

const TensorSpec* TensorTable::find(Role role, std::int64_t layer, std::int64_t expert) const {
  auto it = by_role_.find(role_key(role, layer, expert));
  return it == by_role_.end() ? nullptr : &tensors_[it->second];
}

std::string TensorSpec::scale_name() const {
  constexpr std::string_view kWeight = ".weight";
  return name.substr(0, name.size() - kWeight.size()) + ".scale";
}

std::string release_name(std::string_view stored) {
  // The substitutions of the official converter, applied to whole components so that they cannot meet inside a word.
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kOlder = {
      {{"self_attn", "attn"},
       {"mlp", "ffn"},
       {"weight_scale_inv", "scale"},
       {"e_score_correction_bias", "bias"},
       {"embed_tokens", "embed"},
       {"input_layernorm", "attn_norm"},
       {"post_attention_layernorm", "ffn_norm"},
       {"lm_head", "head"},
       {"gate_proj", "w1"},
       {"down_proj", "w2"},
       {"up_proj", "w3"}}};
  if (stored.starts_with("model.")) stored.remove_prefix(6);
  std::string out;
  out.reserve(stored.size());
  while (true) {
    const auto dot = stored.find('.');
    std::string_view part = stored.substr(0, dot);
    for (const auto& [older, release] : kOlder)
      if (part == older) part = release;
    out += part;
    if (dot == std::string_view::npos) return out;
    out += '.';
    stored.remove_prefix(dot + 1);
  }
}

bool is_draft_tensor(std::string_view name, const ModelConfig& config) {
  return config.has_dspark && name.starts_with("mtp.");
}

std::optional<StoredForm> stored_form(const TensorSpec& spec, DType dtype, std::int64_t block) {
  const bool quantised = spec.storage == Storage::kFp8 || spec.storage == Storage::kExpert;
  if (spec.storage == Storage::kI64) return dtype == DType::kI64 ? std::optional(StoredForm{spec.shape}) : std::nullopt;
  if (dtype == DType::kF32) return StoredForm{spec.shape};
  if (dtype == DType::kBF16 && spec.storage != Storage::kF32) return StoredForm{spec.shape};
  if (dtype == DType::kE4M3 && quantised)
    return StoredForm{spec.shape, true, {ceil_div(spec.rows(), block), ceil_div(spec.cols(), block)}, true};
  if (dtype == DType::kI8 && spec.storage == Storage::kExpert && spec.cols() % 2 == 0)
    return StoredForm{{spec.rows(), spec.cols() / 2}, true, {spec.rows(), ceil_div(spec.cols(), 32)}, false};
  return std::nullopt;
}

DType release_dtype(Storage storage) {
  switch (storage) {
    case Storage::kFp8:
      return DType::kE4M3;
    case Storage::kExpert:
      return DType::kI8;
    case Storage::kBf16:
      return DType::kBF16;
    case Storage::kF32:
      return DType::kF32;
    case Storage::kI64:
      return DType::kI64;
  }
  return DType::kF32;
}

std::string_view storage_dtypes(Storage storage) {
  switch (storage) {
    case Storage::kFp8:
      return "F8_E4M3, BF16 or F32";
    case Storage::kExpert:
      return "I8, F8_E4M3, BF16 or F32";
    case Storage::kBf16:
      return "BF16 or F32";
    case Storage::kF32:
      return "F32";
    case Storage::kI64:
      return "I64";
  }
  return "";
}

std::string_view class_name(TensorClass group) {
  switch (group) {
    case TensorClass::kVocabulary:
      return "embedding and head";
    case TensorClass::kHyperConnection:
      return "hyper-connections";
    case TensorClass::kNorms:
      return "norms";
    case TensorClass::kAttention:
      return "attention";
    case TensorClass::kCompressor:
      return "compressors";
    case TensorClass::kIndexer:
      return "indexers";
    case TensorClass::kRouter:
      return "routers";
    case TensorClass::kRoutedExperts:
      return "routed experts";
    case TensorClass::kSharedExperts:
      return "shared experts";
    case TensorClass::kMtp:
      return "MTP block";
  }
  return "";
}

}  // namespace hadal
