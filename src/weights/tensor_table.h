// The tensor table: every tensor of a DeepSeek-V4 checkpoint, its name, shape and storage, built from the
// configuration. Loading, checking, packing and listing all read this table; nothing else in hadal spells a tensor
// name.
//
// The model in one page. d hidden size, n residual streams, H heads of size D sharing one key-value head, V vocabulary,
// E routed experts of width I. A matrix [out, in] computes y = W x; there are no biases on linear layers.
//
//   X = embed[token], copied into n streams                           embed
//   for every layer:
//     h, C, B = mix(X)       hyper-connection, n streams to one       hc_attn_{fn, base, scale}
//     x = RMSNorm(h)                                                  attn_norm
//       query  qr = RMSNorm(wq_a x);  q = wq_b qr                     attn.{wq_a, q_norm, wq_b}
//       key and value, one vector  kv = RMSNorm(wkv x)                attn.{wkv, kv_norm}
//       ratio > 0: one entry per `ratio` tokens, pooled by a softmax  attn.compressor.{wkv, wgate, ape, norm}
//         over gates wgate x + ape; ratio 4 overlaps its windows
//       ratio 4: an indexer with queries and keys of its own scores   attn.indexer.{wq_b, weights_proj}
//         the entries and keeps index_topk of them                    attn.indexer.compressor.{wkv, wgate, ape, norm}
//       attention over window and entries, a sink logit per head      attn.attn_sink
//       output in G groups: y = wo_b concat_g(wo_a_g o_g)             attn.{wo_a, wo_b}
//     X = C y + B X            back into the streams
//     h, C, B = mix(X)                                                hc_ffn_{fn, base, scale}
//     x = RMSNorm(h)                                                  ffn_norm
//       router  s = sqrt(softplus(gate x)); top-k of s + bias, or     ffn.gate.{weight, bias | tid2eid}
//         in the first num_hash_layers a table from token to experts
//       y = sum_e s_e w2(silu(w1 x) * w3 x), e among the chosen       ffn.experts.E.{w1, w2, w3}
//         plus one shared expert                                      ffn.shared_experts.{w1, w2, w3}
//     X = C y + B X
//   z = collapse(X); logits = head RMSNorm(z)                         hc_head_{fn, base, scale}, norm, head
//
// The right column names the tensors; those of a layer follow "layers.L.".
// A one-step MTP block (mtp.0) is one more such layer of ratio 0 fed with e_proj RMSNorm(embed[next token]; enorm) +
// h_proj RMSNorm(X; hnorm), with its own norm and collapse; it shares embed and head.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "files/safetensors.h"  // DType
#include "weights/config.h"

namespace hadal {

// What a tensor is, whatever its layer. Comments give the logical shape.
enum class Role : std::uint8_t {
  // the whole model
  kEmbed,        // [V, d]
  kHead,         // [V, d]
  kNorm,         // [d]; of the model, or of the MTP block
  kHcHeadFn,     // [n, n*d]
  kHcHeadBase,   // [n]
  kHcHeadScale,  // [1]
  // a layer: hyper-connections and norms; m = (2+n)*n
  kHcAttnFn,     // [m, n*d]
  kHcAttnBase,   // [m]
  kHcAttnScale,  // [3]
  kHcFfnFn,
  kHcFfnBase,
  kHcFfnScale,
  kAttnNorm,  // [d]
  kFfnNorm,   // [d]
  // a layer: attention; Q = q_lora_rank, G = o_groups, R = o_lora_rank
  kWqA,       // [Q, d]
  kQNorm,     // [Q]
  kWqB,       // [H*D, Q]
  kWkv,       // [D, d]
  kKvNorm,    // [D]
  kAttnSink,  // [H]
  kWoA,       // [G*R, H*D/G]; rows g*R.. are group g
  kWoB,       // [d, G*R]
  // a layer with ratio > 0: compressor; k = 2 for ratio 4, else 1
  kCompressorWkv,    // [k*D, d]
  kCompressorWgate,  // [k*D, d]
  kCompressorApe,    // [ratio, k*D]
  kCompressorNorm,   // [D]
  // a layer with ratio 4: indexer of h heads of size i
  kIndexerWqB,              // [h*i, Q]
  kIndexerWeightsProj,      // [h, d]
  kIndexerCompressorWkv,    // [2*i, d]
  kIndexerCompressorWgate,  // [2*i, d]
  kIndexerCompressorApe,    // [4, 2*i]
  kIndexerCompressorNorm,   // [i]
  // a layer: mixture of experts
  kGate,         // [E, d]
  kGateBias,     // [E]; not in hash layers
  kGateTid2eid,  // [V, num_experts_per_tok]; hash layers only
  kExpertW1,     // [I, d] gate
  kExpertW2,     // [d, I] down
  kExpertW3,     // [I, d] up
  kSharedW1,
  kSharedW2,
  kSharedW3,
  // the MTP block beside its layer
  kMtpEProj,      // [d, d]
  kMtpHProj,      // [d, d]
  kMtpENorm,      // [d]
  kMtpHNorm,      // [d]
  kMtpHeadCopy,   // [V, d] in Base checkpoints; a copy of head, never read
  kMtpEmbedCopy,  // [V, d] in Base checkpoints; a copy of embed, never read
};

// How a tensor is stored. The first form is the release's, the others are accepted.
enum class Storage : std::uint8_t {
  kFp8,  // F8_E4M3 [rows, cols] with a scale per 128 x 128 block: F8_E8M0, or F32 in Base. Or BF16 or F32 without scale
  kExpert,  // I8 [rows, cols/2], two E2M1 a byte, with F8_E8M0 [rows, cols/32]. Or like kFp8, as in Base
  kBf16,    // BF16. Or F32
  kF32,     // F32
  kI64,     // I64
};

// Groups for listings and sums.
enum class TensorClass : std::uint8_t {
  kVocabulary,
  kHyperConnection,
  kNorms,
  kAttention,
  kCompressor,
  kIndexer,
  kRouter,
  kRoutedExperts,
  kSharedExperts,
  kMtp
};

enum class Presence : std::uint8_t {
  kRequired,
  kMtp,      // all of the MTP block, or none of it
  kIgnored,  // may be there; listed, never read
};

inline constexpr std::int64_t kNoLayer = -1;
inline constexpr std::int64_t kNoExpert = -1;

struct TensorSpec {
  Role role;
  Storage storage;
  TensorClass group;
  Presence presence;
  std::int64_t layer;               // kNoLayer, or 0 .. L-1, or L for the MTP block
  std::int64_t expert;              // kNoExpert, or 0 .. E-1
  std::string name;                 // "layers.3.attn.wq_a.weight"
  std::vector<std::int64_t> shape;  // logical: FP4 counts two columns a byte

  std::int64_t rows() const { return shape[0]; }
  std::int64_t cols() const { return shape.size() > 1 ? shape[1] : 1; }
  std::int64_t elements() const { return rows() * cols(); }
  std::string scale_name() const;  // "layers.3.attn.wq_a.scale"
};

class TensorTable {
 public:
  explicit TensorTable(const ModelConfig& config);
  TensorTable(TensorTable&&) = default;  // a copy would share the views below
  TensorTable& operator=(TensorTable&&) = default;

  // In the order of the page above: embed, layers ascending, norm and head, MTP.
  const std::vector<TensorSpec>& tensors() const& { return tensors_; }
  const std::vector<TensorSpec>& tensors() && = delete;  // of a temporary they would dangle

  // By release name of the tensor (not of its scale); null when the model has no such tensor.
  const TensorSpec* find(std::string_view name) const;
  // By meaning; null when this layer has no such tensor (an indexer in an HCA layer).
  const TensorSpec* find(Role role, std::int64_t layer = kNoLayer, std::int64_t expert = kNoExpert) const;

 private:
  std::vector<TensorSpec> tensors_;
  std::unordered_map<std::string_view, std::size_t> by_name_;  // views into tensors_
  std::unordered_map<std::uint64_t, std::size_t> by_role_;
};

// The release name of a stored name: older spellings accepted by the official converter ("model.", "self_attn", "mlp",
// "weight_scale_inv", "embed_tokens", ...) are replaced; anything else comes back unchanged.
std::string release_name(std::string_view stored);

// Tensors of a DSpark draft (mtp.0 .. mtp.n-1 of releases that have one): recognised, listed, not run.
bool is_draft_tensor(std::string_view name, const ModelConfig& config);

// How `spec` would be stored as `dtype`: the stored shape and the scale grid. Nothing when that form is not accepted.
struct StoredForm {
  std::vector<std::int64_t> shape;
  bool has_scale = false;
  std::vector<std::int64_t> scale_shape = {};
  bool scale_may_be_f32 = false;  // F8_E8M0 always may
};
std::optional<StoredForm> stored_form(const TensorSpec& spec, DType dtype, std::int64_t block);

DType release_dtype(Storage storage);              // the form releases store it in
std::string_view storage_dtypes(Storage storage);  // for errors: "F8_E4M3, BF16 or F32"
std::string_view class_name(TensorClass group);    // "routed experts"

}  // namespace hadal
