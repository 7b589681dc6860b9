#include "plan/published.h"

namespace hadal {
namespace {

// What Flash and Pro share.
ModelConfig v4_config() {
  ModelConfig c;
  c.vocab_size = 129280;
  c.num_hash_layers = 3;
  c.num_nextn_predict_layers = 1;
  c.head_dim = 512;
  c.qk_rope_head_dim = 64;
  c.o_lora_rank = 1024;
  c.sliding_window = 128;
  c.index_n_heads = 64;
  c.index_head_dim = 128;
  c.num_experts_per_tok = 6;
  c.swiglu_limit = 10;
  c.hc_mult = 4;
  c.hc_sinkhorn_iters = 20;
  c.rope_scaling = {.factor = 16, .original_max_position_embeddings = 65536, .beta_fast = 32, .beta_slow = 1};
  c.max_position_embeddings = 1048576;
  return c;
}

// `first` layers of ratio `first_ratio`, then 4 and 128 in turn, then the MTP block's 0.
void set_ratios(ModelConfig& c, std::int64_t first, std::int64_t first_ratio) {
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    c.compress_ratios.push_back(l < first ? first_ratio : (l - first) % 2 == 0 ? 4 : 128);
  }
  c.compress_ratios.push_back(0);
}

}  // namespace

ModelConfig flash_config() {
  ModelConfig c = v4_config();
  c.hidden_size = 4096;
  c.num_hidden_layers = 43;
  c.num_attention_heads = 64;
  c.q_lora_rank = 1024;
  c.o_groups = 8;
  c.index_topk = 512;
  c.n_routed_experts = 256;
  c.moe_intermediate_size = 2048;
  c.routed_scaling_factor = 1.5;
  set_ratios(c, 2, 0);
  return c;
}

ModelConfig pro_config() {
  ModelConfig c = v4_config();
  c.hidden_size = 7168;
  c.num_hidden_layers = 61;
  c.num_attention_heads = 128;
  c.q_lora_rank = 1536;
  c.o_groups = 16;
  c.index_topk = 1024;
  c.n_routed_experts = 384;
  c.moe_intermediate_size = 3072;
  c.routed_scaling_factor = 2.5;
  set_ratios(c, 2, 128);
  return c;
}

}  // namespace hadal
