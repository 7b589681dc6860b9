// All weights of a loaded model, named as in the checkpoint (spec: tensor table). Views into memory that ModelWeights
// owns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "weights/config.h"
#include "weights/embedding.h"
#include "weights/expert_room.h"
#include "weights/packed_matrix.h"

namespace hadal {

class Checkpoint;
class ExpertStore;

// mHC parameters of one sub-block: fn [(2+n)n, n*d], base [(2+n)n], scale [3]; for a head collapse fn [n, n*d], base
// [n], scale [1].
struct HyperConnectionWeights {
  PackedMatrix fn;
  const float* base = nullptr;
  const float* scale = nullptr;
};

// One compressor: wkv, wgate [k*hd, d] BF16, ape [ratio, k*hd], norm [hd]; k = 2 for ratio 4, else 1.
struct CompressorWeights {
  PackedMatrix wkv, wgate;
  const float* ape = nullptr;
  const float* norm = nullptr;
};

struct IndexerWeights {
  PackedMatrix wq_b;          // [index_n_heads * index_head_dim, q_lora_rank]
  PackedMatrix weights_proj;  // [index_n_heads, d]
  CompressorWeights compressor;
};

struct AttentionWeights {
  PackedMatrix wq_a, wq_b, wkv;
  const float* q_norm = nullptr;     // [q_lora_rank]
  const float* kv_norm = nullptr;    // [D]
  const float* attn_sink = nullptr;  // [H]
  std::vector<PackedMatrix> wo_a;    // one per group, [R, H*D/G]
  PackedMatrix wo_b;                 // [d, G*R]
  CompressorWeights compressor;      // CSA, HCA
  IndexerWeights indexer;            // CSA
};

struct ExpertWeights {
  PackedMatrix w1, w3;  // gate, up: [inter, d]
  PackedMatrix w2;      // down: [d, inter]
};

struct MoeWeights {
  PackedMatrix gate;                      // [E, d]
  const float* bias = nullptr;            // [E]; null in hash layers
  const std::int32_t* tid2eid = nullptr;  // [vocab, k]; null in learned layers
  std::vector<ExpertWeights> experts;     // [E]; empty when they come from the store
  ExpertWeights shared;
  ExpertStore* store = nullptr;      // experts on disk
  std::int32_t layer = 0;            // in the store: L is the MTP block
  const MoeWeights* next = nullptr;  // of the layer after this one, if its experts are on disk and chosen by the gate
};

struct BlockWeights {
  const float* attn_norm = nullptr;  // [d]
  const float* ffn_norm = nullptr;   // [d]
  HyperConnectionWeights hc_attn, hc_ffn;
  AttentionWeights attn;
  MoeWeights ffn;
};

struct MtpWeights {
  BlockWeights block;
  PackedMatrix e_proj, h_proj;   // [d, d]
  const float* enorm = nullptr;  // [d]
  const float* hnorm = nullptr;  // [d]
  const float* norm = nullptr;   // [d]
  HyperConnectionWeights hc_head;
};

struct ModelWeights {
  ModelConfig config;
  Embedding embed;              // BF16 [vocab, d]
  PackedMatrix head;            // [vocab, d]
  const float* norm = nullptr;  // [d]
  HyperConnectionWeights hc_head;
  std::vector<BlockWeights> layers;  // [L]
  std::unique_ptr<MtpWeights> mtp;   // null when the checkpoint has no one-step MTP block
  std::uint64_t fingerprint = 0;     // XXH3-64 over config and tensor table (names, dtypes, shapes, sampled content)
  std::int64_t resident_bytes = 0;   // memory this object holds beyond the mapping

  // Null when every expert is in memory.
  ExpertStore* expert_store() const;

  // The packed weights in memory, without experts that come and go.
  std::vector<Bytes> resident() const;

  ModelWeights();
  ~ModelWeights();
  ModelWeights(ModelWeights&&) noexcept;
  ModelWeights& operator=(ModelWeights&&) noexcept;

 private:
  friend Result<ModelWeights> load_weights(std::shared_ptr<const Checkpoint> checkpoint,
                                           const ExpertPlacement& placement, const std::string& repack_cache);
  struct Storage;  // arenas, the expert store, and the checkpoint that keeps the mapping alive
  std::unique_ptr<Storage> storage_;
};

// Repacks every tensor of the table once, or all but the routed experts. Never a partial load: the first bad tensor is
// the error. Experts on disk are checked when they are read. `repack_cache`: a directory that keeps the packed dense
// weights between starts (weights/repack_cache.h); empty: none.
Result<ModelWeights> load_weights(std::shared_ptr<const Checkpoint> checkpoint, const ExpertPlacement& placement = {},
                                  const std::string& repack_cache = {});

}  // namespace hadal
