#include "weights/model_weights.h"

#include <optional>
#include <utility>

#include "files/checked_blob.h"
#include "weights/arena.h"
#include "weights/checkpoint.h"
#include "weights/expert_store.h"
#include "weights/loader.h"
#include "weights/repack_cache.h"

namespace hadal {

struct ModelWeights::Storage {
  std::shared_ptr<const Checkpoint> checkpoint;  // keeps an embedding that is part of the program
  Arena dense, experts;
  std::optional<CheckedBlob> kept;  // the dense weights, instead of the arena
  std::unique_ptr<ExpertStore> store;
};

ModelWeights::ModelWeights() = default;
ModelWeights::~ModelWeights() = default;
ModelWeights::ModelWeights(ModelWeights&&) noexcept = default;
ModelWeights& ModelWeights::operator=(ModelWeights&&) noexcept = default;

ExpertStore* ModelWeights::expert_store() const { return storage_ ? storage_->store.get() : nullptr; }

std::vector<Bytes> ModelWeights::resident() const {
  std::vector<Bytes> out;
  if (!storage_) return out;
  if (storage_->kept) out.push_back(storage_->kept->content());
  for (const Arena* a : {&storage_->dense, &storage_->experts})
    if (a->bytes() > 0) out.emplace_back(a->at(0), static_cast<std::size_t>(a->bytes()));
  return out;
}

namespace {

void load_compressor(Loader& load, CompressorWeights& w, std::int64_t layer, bool of_indexer) {
  load.matrix(w.wkv, of_indexer ? Role::kIndexerCompressorWkv : Role::kCompressorWkv, layer);
  load.matrix(w.wgate, of_indexer ? Role::kIndexerCompressorWgate : Role::kCompressorWgate, layer);
  load.floats(w.ape, of_indexer ? Role::kIndexerCompressorApe : Role::kCompressorApe, layer);
  load.floats(w.norm, of_indexer ? Role::kIndexerCompressorNorm : Role::kCompressorNorm, layer);
}

void load_attention(Loader& load, const ModelConfig& config, AttentionWeights& w, std::int64_t layer) {
  load.matrix(w.wq_a, Role::kWqA, layer);
  load.floats(w.q_norm, Role::kQNorm, layer);
  load.matrix(w.wq_b, Role::kWqB, layer);
  load.matrix(w.wkv, Role::kWkv, layer);
  load.floats(w.kv_norm, Role::kKvNorm, layer);
  load.floats(w.attn_sink, Role::kAttnSink, layer);
  load.groups(w.wo_a, Role::kWoA, layer, config.o_groups);
  load.matrix(w.wo_b, Role::kWoB, layer);
  if (config.kind(layer) != AttentionKind::kSwa) load_compressor(load, w.compressor, layer, false);
  if (config.kind(layer) == AttentionKind::kCsa) {
    load.matrix(w.indexer.wq_b, Role::kIndexerWqB, layer);
    load.matrix(w.indexer.weights_proj, Role::kIndexerWeightsProj, layer);
    load_compressor(load, w.indexer.compressor, layer, true);
  }
}

void load_experts(Loader& load, const ModelConfig& config, MoeWeights& w, std::int64_t layer) {
  load.matrix(w.gate, Role::kGate, layer);
  if (layer < config.num_hash_layers && layer < config.num_hidden_layers)
    load.expert_ids(w.tid2eid, Role::kGateTid2eid, layer);
  else
    load.floats(w.bias, Role::kGateBias, layer);
  w.layer = static_cast<std::int32_t>(layer);
  w.experts.resize(static_cast<std::size_t>(config.n_routed_experts));
  for (std::int64_t e = 0; e < config.n_routed_experts; ++e) {
    ExpertWeights& expert = w.experts[static_cast<std::size_t>(e)];
    load.matrix(expert.w1, Role::kExpertW1, layer, e);
    load.matrix(expert.w3, Role::kExpertW3, layer, e);
    load.matrix(expert.w2, Role::kExpertW2, layer, e);
  }
  load.matrix(w.shared.w1, Role::kSharedW1, layer);
  load.matrix(w.shared.w3, Role::kSharedW3, layer);
  load.matrix(w.shared.w2, Role::kSharedW2, layer);
}

void load_head_collapse(Loader& load, HyperConnectionWeights& w, std::int64_t layer) {
  load.matrix(w.fn, Role::kHcHeadFn, layer);
  load.floats(w.base, Role::kHcHeadBase, layer);
  load.floats(w.scale, Role::kHcHeadScale, layer);
}

void load_block(Loader& load, const ModelConfig& config, BlockWeights& w, std::int64_t layer) {
  load.matrix(w.hc_attn.fn, Role::kHcAttnFn, layer);
  load.floats(w.hc_attn.base, Role::kHcAttnBase, layer);
  load.floats(w.hc_attn.scale, Role::kHcAttnScale, layer);
  load.floats(w.attn_norm, Role::kAttnNorm, layer);
  load_attention(load, config, w.attn, layer);
  load.matrix(w.hc_ffn.fn, Role::kHcFfnFn, layer);
  load.floats(w.hc_ffn.base, Role::kHcFfnBase, layer);
  load.floats(w.hc_ffn.scale, Role::kHcFfnScale, layer);
  load.floats(w.ffn_norm, Role::kFfnNorm, layer);
  load_experts(load, config, w.ffn, layer);
}

void load_mtp(Loader& load, const ModelConfig& config, MtpWeights& w) {
  const std::int64_t layer = config.num_hidden_layers;
  load.matrix(w.e_proj, Role::kMtpEProj, layer);
  load.matrix(w.h_proj, Role::kMtpHProj, layer);
  load.floats(w.enorm, Role::kMtpENorm, layer);
  load.floats(w.hnorm, Role::kMtpHNorm, layer);
  load_block(load, config, w.block, layer);
  load.floats(w.norm, Role::kNorm, layer);
  load_head_collapse(load, w.hc_head, layer);
}

// Walks the model: afterwards `load` knows what it takes, and load.fill() fills it.
Status lay_out(Loader& load, const Checkpoint& checkpoint, ModelWeights& w) {
  w.config = checkpoint.config();
  HADAL_CHECK_OK(load.embedding(w.embed));
  w.layers.resize(static_cast<std::size_t>(w.config.num_hidden_layers));
  for (std::int64_t l = 0; l < w.config.num_hidden_layers; ++l)
    load_block(load, w.config, w.layers[static_cast<std::size_t>(l)], l);
  load_head_collapse(load, w.hc_head, kNoLayer);
  load.floats(w.norm, Role::kNorm);
  load.matrix(w.head, Role::kHead);
  if (checkpoint.has_mtp()) {
    w.mtp = std::make_unique<MtpWeights>();
    load_mtp(load, w.config, *w.mtp);
  }
  return {};
}

// The sentence of expert_memory() with the checkpoint's name and what to do.
Result<std::int64_t> streamed_memory(const Checkpoint& checkpoint, ExpertPlacement placement, std::int64_t dense,
                                     std::int64_t experts) {
  const ModelConfig& c = checkpoint.config();
  if (checkpoint.files().in_memory() && placement.memory_bytes == ExpertPlacement::kAuto)
    placement.memory_bytes = ExpertPlacement::kAll;
  const std::int64_t layers = c.num_hidden_layers + (checkpoint.has_mtp() ? 1 : 0);
  auto memory = expert_memory({dense, experts, layers * c.n_routed_experts, c.num_experts_per_tok}, placement,
                              available_memory_bytes());
  if (!memory)
    return fail(memory.error().code, "{}: {}; see 'hadal plan --model {}'", checkpoint.directory(), memory.error().what,
                checkpoint.directory());
  return memory;
}

}  // namespace

Result<ModelWeights> load_weights(std::shared_ptr<const Checkpoint> checkpoint, const ExpertPlacement& placement,
                                  const std::string& repack_cache) {
  if (!checkpoint->problems().empty()) return std::unexpected(checkpoint->problems().front());
  ModelWeights out;
  Loader load(*checkpoint);
  HADAL_CHECK_OK(lay_out(load, *checkpoint, out));
  const std::int64_t dense = load.bytes(Loader::kDense), experts = load.bytes(Loader::kExperts);
  const std::int64_t memory = HADAL_TRY(streamed_memory(*checkpoint, placement, dense, experts));

  out.storage_ = std::make_unique<ModelWeights::Storage>();
  out.fingerprint = checkpoint->fingerprint();
  HADAL_CHECK_OK(load_dense(load, *checkpoint, out.fingerprint, repack_cache, out.storage_->dense, out.storage_->kept));
  out.resident_bytes = dense;
  if (memory == 0) {
    out.storage_->experts = HADAL_TRY(Arena::reserve(experts));
    HADAL_CHECK_OK(load.fill(Loader::kExperts, out.storage_->experts.at(0)));
    out.resident_bytes += experts;
  } else {
    auto& store = out.storage_->store;
    store = HADAL_TRY(ExpertStore::open(checkpoint, {memory, placement.slots, placement.reader}));
    auto stream = [&](MoeWeights& w) {
      w.experts.clear();
      w.store = store.get();
    };
    for (BlockWeights& b : out.layers) stream(b.ffn);
    if (out.mtp) stream(out.mtp->block.ffn);
    for (std::size_t l = 0; l + 1 < out.layers.size(); ++l)
      if (out.layers[l + 1].ffn.bias) out.layers[l].ffn.next = &out.layers[l + 1].ffn;
    out.resident_bytes += store->memory_bytes();
  }
  out.storage_->checkpoint = std::move(checkpoint);
  return out;
}

}  // namespace hadal
