// All weights of a model as doubles, for the definition (reference_model.h). Names as in the checkpoint (spec 8.2); the
// same structure as weights/model_weights.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "model/reference_math.h"

namespace hadal {
class Checkpoint;
class TensorTable;
}  // namespace hadal

namespace hadal::reference {

struct HyperConnection {
  Matrix fn;     // [(2+n)n, n*d]; of a head collapse [n, n*d]
  Vector base;   // [(2+n)n]; [n]
  Vector scale;  // [3]; [1]
};

struct Compressor {
  Matrix wkv, wgate;  // [k*hd, d], k = 2 for ratio 4, else 1
  Vector ape;         // [ratio][k*hd]
  Vector norm;        // [hd]
};

struct Indexer {
  Matrix wq_b;          // [index_n_heads * index_head_dim, q_lora_rank]
  Matrix weights_proj;  // [index_n_heads, d]
  Compressor compressor;
};

struct Attention {
  Matrix wq_a, wq_b, wkv;
  Vector q_norm, kv_norm;
  Vector attn_sink;          // [H]
  std::vector<Matrix> wo_a;  // one per group, [R, H*D/G]
  Matrix wo_b;               // [d, G*R]
  Compressor compressor;     // CSA, HCA
  Indexer indexer;           // CSA
};

struct Expert {
  Matrix w1, w2, w3;  // gate, down, up
};

struct Moe {
  Matrix gate;                        // [E, d]
  Vector bias;                        // [E]; empty in hash layers
  std::vector<std::int64_t> tid2eid;  // [vocab][k]; empty in learned layers
  std::vector<Expert> experts;
  Expert shared;
};

struct Block {
  HyperConnection hc_attn, hc_ffn;
  Vector attn_norm, ffn_norm;  // [d]
  Attention attn;
  Moe ffn;
};

// How streams become the input of the head: collapse, then norm.
struct ReadOut {
  HyperConnection hc_head;
  Vector norm;  // [d]
};

struct Mtp {
  Matrix e_proj, h_proj;  // [d, d]
  Vector enorm, hnorm;    // [d]
  Block block;
  ReadOut read_out;
};

struct Weights {
  Vector embed;  // [vocab][d]
  std::vector<Block> layers;
  ReadOut read_out;
  Matrix head;  // [vocab, d]; the MTP block shares it, and embed
  std::optional<Mtp> mtp;
};

// Bytes that load_weights would take: eight for every parameter.
std::int64_t weight_bytes(const TensorTable& table, bool with_mtp);

// Dequantises every tensor; fails on the first one that is missing or damaged, as Checkpoint::dequantise does.
Result<Weights> load_weights(const Checkpoint& checkpoint, bool with_mtp);

}  // namespace hadal::reference
