// The release config.json, checked and typed. Source: DeepSeek-V4 config.json; names are its keys unless said.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal {

// What compress_ratios says of one layer.
enum class AttentionKind : std::uint8_t {
  kSwa,  // ratio 0: sliding window only
  kCsa,  // ratio 4: overlapping compression by 4, lightning indexer picks index_topk entries
  kHca,  // any other ratio: plain compression, every entry is attended
};

struct YarnScaling {
  double factor = 1;                                  // rope_scaling.factor
  std::int64_t original_max_position_embeddings = 0;  // 0: no YaRN
  double beta_fast = 32, beta_slow = 1;
};

struct ModelConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;        // d
  std::int64_t num_hidden_layers = 0;  // L
  std::int64_t num_hash_layers = 0;
  std::int64_t num_nextn_predict_layers = 0;  // MTP blocks that this engine can run: 0 or 1
  std::int64_t num_attention_heads = 0;       // H
  std::int64_t head_dim = 0;                  // D
  std::int64_t qk_rope_head_dim = 0;          // rd, the last rd channels rotate
  std::int64_t q_lora_rank = 0;
  std::int64_t o_groups = 0;        // G
  std::int64_t o_lora_rank = 0;     // R, per group
  std::int64_t sliding_window = 0;  // W, the query's own token included
  std::vector<std::int64_t>
      compress_ratios;  // one per main layer, then one per MTP block; trailing zeros beyond are dropped
  std::int64_t index_n_heads = 0;
  std::int64_t index_head_dim = 0;
  std::int64_t index_topk = 0;
  std::int64_t n_routed_experts = 0;
  std::int64_t num_experts_per_tok = 0;
  std::int64_t moe_intermediate_size = 0;
  double routed_scaling_factor = 1;
  double swiglu_limit = 0;   // 0: no clamp
  std::int64_t hc_mult = 0;  // n residual streams
  std::int64_t hc_sinkhorn_iters = 0;
  double hc_eps = 1e-6;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;            // layers of ratio 0
  double compress_rope_theta = 160000;  // layers that compress
  YarnScaling rope_scaling;
  std::int64_t max_position_embeddings = 0;
  std::int32_t bos_token_id = 0, eos_token_id = 1;
  std::int64_t weight_block_size = 128;  // FP8 scale blocks are square

  // DSpark drafts (0731 and *-DSpark releases): recognised and listed, not run. Empty when absent.
  bool has_dspark = false;
  std::int64_t dspark_blocks = 0;  // mtp.0 .. mtp.(n-1)

  AttentionKind kind(std::int64_t layer) const;  // layer == num_hidden_layers is the MTP block
  std::int64_t ratio(std::int64_t layer) const { return compress_ratios[static_cast<std::size_t>(layer)]; }
};

// Reads and checks config.json text. `where` names the file in errors. Refuses other model types by name
// (deepseek_v41, vision variants, anything unknown).
Result<ModelConfig> parse_config(std::string_view json, const std::string& where);

}  // namespace hadal
