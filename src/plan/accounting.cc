#include "plan/accounting.h"

#include <algorithm>

#include "base/span.h"

namespace hadal {
namespace {

constexpr std::int64_t kScaleBlock = 64;  // channels of an attention entry that share one E8M0 byte
constexpr std::int64_t kFp4Block = 32;    // channels of an index key that share one E8M0 byte

// Calls fn(kind, ratio) for every main layer. The MTP block has only a window and is not part of the report's counts.
template <class F>
void each_layer(const ModelConfig& config, F&& fn) {
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) fn(config.kind(l), config.ratio(l));
}

// Entries that a query at context n attends to.
std::int64_t attended(const ModelConfig& config, AttentionKind kind, std::int64_t ratio, std::int64_t n) {
  const std::int64_t window = std::min(n, config.sliding_window);
  switch (kind) {
    case AttentionKind::kSwa:
      return window;
    case AttentionKind::kCsa:
      return window + std::min(config.index_topk, n / ratio);
    case AttentionKind::kHca:
      return window + n / ratio;
  }
  return 0;
}

}  // namespace

CacheCounting packed_counting(const ModelConfig& c) {
  const std::int64_t nope = c.head_dim - c.qk_rope_head_dim;
  const std::int64_t entry = nope + 2 * c.qk_rope_head_dim + ceil_div(nope, kScaleBlock);
  return {"packed", round_up(entry, 8), c.index_head_dim / 2 + c.index_head_dim / kFp4Block};
}

CacheCounting payload_counting(const ModelConfig& c) {
  return {"payload", c.head_dim + c.qk_rope_head_dim, c.index_head_dim / 2};
}

CacheCounting fp8_keys_counting(const ModelConfig& c) {
  return {"fp8 index keys", packed_counting(c).entry_bytes, c.index_head_dim + 4};
}

CacheCounting bf16_counting(const ModelConfig& c) { return {"bf16", 2 * c.head_dim, 2 * c.index_head_dim}; }

std::vector<CacheCounting> all_countings(const ModelConfig& c) {
  return {packed_counting(c), payload_counting(c), fp8_keys_counting(c), bf16_counting(c)};
}

double cache_bytes_per_token(const ModelConfig& config, const CacheCounting& counting) {
  double sum = 0;
  each_layer(config, [&](AttentionKind kind, std::int64_t ratio) {
    if (kind == AttentionKind::kSwa) return;
    const std::int64_t bytes = counting.entry_bytes + (kind == AttentionKind::kCsa ? counting.key_bytes : 0);
    sum += static_cast<double>(bytes) / static_cast<double>(ratio);
  });
  return sum;
}

std::int64_t growing_bytes(const ModelConfig& config, const CacheCounting& counting, std::int64_t n) {
  std::int64_t sum = 0;
  each_layer(config, [&](AttentionKind kind, std::int64_t ratio) {
    if (kind == AttentionKind::kSwa) return;
    sum += n / ratio * (counting.entry_bytes + (kind == AttentionKind::kCsa ? counting.key_bytes : 0));
  });
  return sum;
}

std::int64_t window_bytes(const ModelConfig& config, const CacheCounting& counting) {
  return config.num_hidden_layers * config.sliding_window * counting.entry_bytes;
}

std::int64_t open_window_bytes(const ModelConfig& config) {
  std::int64_t floats = 0;
  each_layer(config, [&](AttentionKind kind, std::int64_t ratio) {
    // A row is c and z. An overlapping compressor has two halves in each, and keeps the first halves of the closed
    // window.
    const auto overlapping = [&](std::int64_t hd) { return (ratio - 1) * 4 * hd + ratio * 2 * hd; };
    if (kind == AttentionKind::kHca) floats += (ratio - 1) * 2 * config.head_dim;
    if (kind == AttentionKind::kCsa) floats += overlapping(config.head_dim) + overlapping(config.index_head_dim);
  });
  return 4 * floats;
}

std::int64_t v32_bytes_per_token(const V32Config& c, bool bf16) {
  const std::int64_t latent_scales = c.kv_lora_rank / 128;  // one float per 128 channels
  const std::int64_t entry =
      bf16 ? 2 * (c.kv_lora_rank + c.qk_rope_head_dim) : c.kv_lora_rank + 4 * latent_scales + 2 * c.qk_rope_head_dim;
  const std::int64_t key = bf16 ? 2 * c.index_head_dim : c.index_head_dim + 4;
  return c.num_hidden_layers * (entry + key);
}

std::int64_t gqa_bytes_per_token(const Gqa8Config& c) {
  return 2 * c.num_key_value_heads * c.head_dim * c.element_bytes * c.num_hidden_layers;  // keys and values
}

FlopCount decode_flops(const ModelConfig& config, const TensorTable& table, std::int64_t n) {
  FlopCount flops;
  for (const TensorSpec& t : table.tensors()) {
    if (t.shape.size() != 2 || t.layer == config.num_hidden_layers || t.group == TensorClass::kMtp) continue;
    const double products = 2.0 * static_cast<double>(t.elements());
    switch (t.role) {
      case Role::kEmbed:          // one row is copied
      case Role::kGateTid2eid:    // one row is read
      case Role::kCompressorApe:  // added, not multiplied
      case Role::kIndexerCompressorApe:
        break;
      case Role::kExpertW1:
      case Role::kExpertW2:
      case Role::kExpertW3:
        if (t.expert < config.num_experts_per_tok) flops.experts += products;  // any k of them: all have one shape
        break;
      default:
        (t.storage == Storage::kFp8 ? flops.fp8_linear : flops.wide_linear) += products;
    }
  }
  each_layer(config, [&](AttentionKind kind, std::int64_t ratio) {
    flops.attention += 4.0 * static_cast<double>(config.num_attention_heads * config.head_dim) *
                       static_cast<double>(attended(config, kind, ratio, n));
    if (kind == AttentionKind::kCsa) {
      const std::int64_t keys = n / ratio;
      flops.index +=
          2.0 * static_cast<double>(config.index_n_heads * config.index_head_dim) * static_cast<double>(keys);
    }
  });
  return flops;
}

FlopCount decode_flops(const V32Config& c, std::int64_t n) {
  FlopCount flops;
  const std::int64_t key_dim = c.qk_nope_head_dim + c.qk_rope_head_dim;
  const std::int64_t latent = c.kv_lora_rank + c.qk_rope_head_dim;
  const std::int64_t attention = c.hidden_size * c.q_lora_rank + c.q_lora_rank * c.num_attention_heads * key_dim +
                                 c.hidden_size * latent + c.num_attention_heads * c.v_head_dim * c.hidden_size;
  const std::int64_t indexer = c.q_lora_rank * c.index_n_heads * c.index_head_dim + c.hidden_size * c.index_head_dim;
  // Absorbed form: queries meet the latent through W_UK, outputs leave it through W_UV, both bfloat16.
  const std::int64_t absorbed = c.num_attention_heads * c.kv_lora_rank * (c.qk_nope_head_dim + c.v_head_dim);
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    flops.fp8_linear += 2.0 * static_cast<double>(attention + indexer);
    flops.wide_linear += 2.0 * static_cast<double>(absorbed + c.hidden_size * c.index_n_heads);
    if (l < c.first_k_dense_replace) {
      flops.fp8_linear += 6.0 * static_cast<double>(c.hidden_size * c.intermediate_size);
    } else {
      flops.fp8_linear +=
          6.0 * static_cast<double>((c.num_experts_per_tok + 1) * c.hidden_size * c.moe_intermediate_size);
      flops.wide_linear += 2.0 * static_cast<double>(c.n_routed_experts * c.hidden_size);
    }
    flops.index += 2.0 * static_cast<double>(c.index_n_heads * c.index_head_dim) * static_cast<double>(n);
    flops.attention += 2.0 * static_cast<double>(c.num_attention_heads * (latent + c.kv_lora_rank)) *
                       static_cast<double>(std::min(c.index_topk, n));
  }
  flops.wide_linear += 2.0 * static_cast<double>(c.vocab_size * c.hidden_size);
  return flops;
}

double weighted_flops(const FlopCount& f, const FlopWeights& w) {
  return f.fp8_linear + w.experts * f.experts + w.wide_linear * f.wide_linear + w.index * f.index +
         w.attention * f.attention;
}

CacheReads decode_cache_reads(const ModelConfig& config, const CacheCounting& counting, std::int64_t n) {
  CacheReads reads;
  each_layer(config, [&](AttentionKind kind, std::int64_t ratio) {
    reads.entries += static_cast<double>(attended(config, kind, ratio, n) * counting.entry_bytes);
    const std::int64_t keys = kind == AttentionKind::kCsa ? n / ratio : 0;
    reads.keys += static_cast<double>(keys * counting.key_bytes);
  });
  return reads;
}

}  // namespace hadal
