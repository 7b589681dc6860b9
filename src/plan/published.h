// Configurations that the report compares, as data: V4-Flash, V4-Pro, V3.2, and the grouped-query yardstick. Everything
// about them that plan prints is computed from these.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "weights/config.h"

namespace hadal {

ModelConfig flash_config();
ModelConfig pro_config();

// DeepSeek-V3.2: multi-head latent attention with a lightning indexer over every token. Source: its config.json.
struct V32Config {
  std::int64_t vocab_size = 129280;
  std::int64_t hidden_size = 7168;
  std::int64_t num_hidden_layers = 61;
  std::int64_t first_k_dense_replace = 3;
  std::int64_t intermediate_size = 18432;  // of the dense layers
  std::int64_t moe_intermediate_size = 2048;
  std::int64_t n_routed_experts = 256;
  std::int64_t num_experts_per_tok = 8;
  std::int64_t num_attention_heads = 128;
  std::int64_t q_lora_rank = 1536;
  std::int64_t kv_lora_rank = 512;
  std::int64_t qk_rope_head_dim = 64;
  std::int64_t qk_nope_head_dim = 128;
  std::int64_t v_head_dim = 128;
  std::int64_t index_n_heads = 64;
  std::int64_t index_head_dim = 128;
  std::int64_t index_topk = 2048;
};

// Grouped-query attention with 8 key-value heads of 128 in bfloat16, as deep as what it is compared with.
struct Gqa8Config {
  std::int64_t num_hidden_layers = 61;
  std::int64_t num_key_value_heads = 8;
  std::int64_t head_dim = 128;
  std::int64_t element_bytes = 2;
};

}  // namespace hadal
