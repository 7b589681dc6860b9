#include "weights/model_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <utility>

#include "machine/thread_pool.h"
#include "numbers/bf16.h"
#include "weights/arena.h"
#include "weights/checkpoint.h"
#include "weights/expert_store.h"
#include "weights/pack.h"
#include "weights/stored_matrix.h"

namespace hadal {

struct ModelWeights::Storage {
  std::shared_ptr<const Checkpoint> checkpoint;  // keeps the mapping of the embedding alive
  Arena arena;
  std::unique_ptr<ExpertStore> experts;
};

ModelWeights::ModelWeights() = default;
ModelWeights::~ModelWeights() = default;
ModelWeights::ModelWeights(ModelWeights&&) noexcept = default;
ModelWeights& ModelWeights::operator=(ModelWeights&&) noexcept = default;

ExpertStore* ModelWeights::expert_store() const { return storage_ ? storage_->experts.get() : nullptr; }

namespace {

constexpr std::int64_t kAlign = 64;         // a cache line, and a zmm register
constexpr std::int64_t kTilesPerTask = 64;  // 64 runs of 16 rows: a few MB, long enough to hide handing out tasks

// Two passes. The first walks the model in the words of the tensor table, notes for every tensor where it comes from
// and where it goes, and lays out one arena; the second fills the arena in parallel.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, bool with_experts)
      : checkpoint_(checkpoint), config_(checkpoint.config()), with_experts_(with_experts) {}

  void matrix(PackedMatrix& out, Role role, std::int64_t layer = kNoLayer, std::int64_t expert = kNoExpert);
  void groups(std::vector<PackedMatrix>& out, Role role, std::int64_t layer, std::int64_t count);
  void floats(const float*& out, Role role, std::int64_t layer = kNoLayer);
  void expert_ids(const std::int32_t*& out, Role role, std::int64_t layer);
  void embedding(const std::uint16_t*& out);

  bool with_experts() const { return with_experts_; }
  std::int64_t bytes() const { return bytes_; }
  Status fill(const Arena& arena);

 private:
  struct MatrixTask {
    StoredMatrix source;
    PackedMatrix* out;
    std::int64_t tiles_offset, scales_offset;
    const TensorSpec* spec;
  };
  struct VectorTask {
    const TensorSpec* spec;
    std::int64_t offset;
    const float** floats;  // one of the three
    const std::int32_t** ids;
    const std::uint16_t** embedding;
  };

  const TensorSpec& spec(Role role, std::int64_t layer, std::int64_t expert);
  StoredMatrix source(const TensorSpec& spec) const { return stored_matrix(checkpoint_, spec); }
  void matrix_part(PackedMatrix& out, const TensorSpec& spec, StoredMatrix source, Encoding encoding);
  std::int64_t take(std::int64_t bytes) { return std::exchange(bytes_, round_up(bytes_ + bytes, kAlign)); }
  Status fill_vector(const VectorTask& task, const Arena& arena);

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  std::vector<MatrixTask> matrices_;
  std::vector<VectorTask> vectors_;
  const bool with_experts_;
  std::int64_t bytes_ = 0;
};

// The table was built from this configuration and the checkpoint checked against the table, so the row is there.
const TensorSpec& Loader::spec(Role role, std::int64_t layer, std::int64_t expert) {
  return *checkpoint_.table().find(role, layer, expert);
}

void Loader::matrix_part(PackedMatrix& out, const TensorSpec& spec, StoredMatrix from, Encoding encoding) {
  out = {encoding, from.rows, from.cols, nullptr, nullptr};
  const std::int64_t tiles = take(packed_tile_bytes(from, encoding));
  const std::int64_t scales = take(packed_scale_count(from, encoding) * static_cast<std::int64_t>(sizeof(float)));
  matrices_.push_back({from, &out, tiles, scales, &spec});
}

void Loader::matrix(PackedMatrix& out, Role role, std::int64_t layer, std::int64_t expert) {
  const TensorSpec& row = spec(role, layer, expert);
  const StoredMatrix from = source(row);
  matrix_part(out, row, from, packed_encoding(from));
}

// Splits a matrix into `count` equal groups of rows. All groups get one encoding: they share one packed form of the
// input.
void Loader::groups(std::vector<PackedMatrix>& out, Role role, std::int64_t layer, std::int64_t count) {
  const TensorSpec& row = spec(role, layer, kNoExpert);
  StoredMatrix part = source(row);
  part.rows = row.rows() / count;
  out.resize(static_cast<std::size_t>(count));
  Encoding encoding = packed_encoding(part);
  for (std::int64_t g = 0; g < count; ++g) {
    part.first_row = g * part.rows;
    if (packed_encoding(part) != Encoding::kFp8) encoding = packed_encoding(part);
  }
  for (std::int64_t g = 0; g < count; ++g) {
    part.first_row = g * part.rows;
    matrix_part(out[static_cast<std::size_t>(g)], row, part, encoding);
  }
}

void Loader::floats(const float*& out, Role role, std::int64_t layer) {
  const TensorSpec& row = spec(role, layer, kNoExpert);
  vectors_.push_back({&row, take(row.elements() * static_cast<std::int64_t>(sizeof(float))), &out, nullptr, nullptr});
}

void Loader::expert_ids(const std::int32_t*& out, Role role, std::int64_t layer) {
  const TensorSpec& row = spec(role, layer, kNoExpert);
  vectors_.push_back(
      {&row, take(row.elements() * static_cast<std::int64_t>(sizeof(std::int32_t))), nullptr, &out, nullptr});
}

// The embedding is looked up a row at a time and stays in the mapped file if it is aligned BF16 there, as in every
// release.
void Loader::embedding(const std::uint16_t*& out) {
  const TensorSpec& row = spec(Role::kEmbed, kNoLayer, kNoExpert);
  const StoredTensor& stored = *checkpoint_.find(row.name).value();
  const bool aligned = reinterpret_cast<std::uintptr_t>(stored.data.data()) % alignof(std::uint16_t) == 0;
  const bool in_place = stored.dtype == DType::kBF16 && aligned;
  if (in_place) out = reinterpret_cast<const std::uint16_t*>(stored.data.data());
  vectors_.push_back({&row, in_place ? -1 : take(row.elements() * 2), nullptr, nullptr, &out});
}

Status Loader::fill_vector(const VectorTask& task, const Arena& arena) {
  const StoredTensor& stored = *checkpoint_.find(task.spec->name).value();
  auto bad = [&](std::int64_t index, std::string_view what) {
    return fail(ErrorCode::kBadInput, "{}/{}: tensor '{}' {} at row {}, column {}; fetch the file again",
                checkpoint_.directory(), checkpoint_.shards()[stored.shard].file, task.spec->name, what,
                index / task.spec->cols(), index % task.spec->cols());
  };
  const std::int64_t count = task.spec->elements();
  const std::byte* in = stored.data.data();
  if (task.ids) {
    auto* ids = reinterpret_cast<std::int32_t*>(arena.at(task.offset));
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t id = 0;
      std::memcpy(&id, in + i * 8, 8);
      if (id < 0 || id >= config_.n_routed_experts)
        return bad(i, fmt::format("names expert {} of {}", id, config_.n_routed_experts));
      ids[i] = static_cast<std::int32_t>(id);
    }
    *task.ids = ids;
    return {};
  }
  auto* floats = task.floats ? reinterpret_cast<float*>(arena.at(task.offset)) : nullptr;
  auto* words = task.embedding && task.offset >= 0 ? reinterpret_cast<std::uint16_t*>(arena.at(task.offset)) : nullptr;
  for (std::int64_t i = 0; i < count; ++i) {
    float v = 0;
    if (stored.dtype == DType::kBF16) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, in + i * 2, 2);
      v = bf16_to_float(bits);
    } else {
      std::memcpy(&v, in + i * 4, 4);
    }
    if (!std::isfinite(v)) return bad(i, "is not a finite number");
    if (floats) floats[i] = v;
    if (words) {
      words[i] = bf16_from_float(v);
      if (bf16_to_float(words[i]) != v)
        return bad(i, "is F32 and not exact in BF16, the only form the embedding is kept in,");
    }
  }
  if (floats) *task.floats = floats;
  if (words) *task.embedding = words;
  return {};
}

Status Loader::fill(const Arena& arena) {
  struct Slice {
    std::size_t matrix;
    std::int64_t begin, end;  // tiles
  };
  std::vector<Slice> slices;
  for (std::size_t m = 0; m < matrices_.size(); ++m) {
    MatrixTask& task = matrices_[m];
    task.out->tiles = arena.at(task.tiles_offset);
    if (task.out->encoding == Encoding::kFp8)
      task.out->scales = reinterpret_cast<const float*>(arena.at(task.scales_offset));
    for (std::int64_t t = 0; t < task.out->tile_count(); t += kTilesPerTask)
      slices.push_back({m, t, std::min(t + kTilesPerTask, task.out->tile_count())});
  }

  // Of several faults the first in table order is reported, whichever thread met its own first.
  const auto vector_count = static_cast<std::int64_t>(vectors_.size());
  std::mutex mutex;
  std::int64_t first_fault = INT64_MAX;
  Error fault;
  auto record = [&](std::int64_t index, Error error) {
    const std::lock_guard lock(mutex);
    if (index >= first_fault) return;
    first_fault = index;
    fault = std::move(error);
  };
  // Starting threads costs more than packing a few MB, as the embedded model and the tests have.
  constexpr std::int64_t kWorthThreads = 32 << 20;
  ThreadPool pool(arena.bytes() < kWorthThreads ? 1 : 0);
  pool.for_each(vector_count + static_cast<std::int64_t>(slices.size()), [&](std::int64_t index, int) {
    if (index < vector_count) {
      if (auto ok = fill_vector(vectors_[static_cast<std::size_t>(index)], arena); !ok)
        record(index, std::move(ok).error());
      return;
    }
    const Slice& slice = slices[static_cast<std::size_t>(index - vector_count)];
    const MatrixTask& task = matrices_[slice.matrix];
    for (std::int64_t t = slice.begin; t < slice.end; ++t)
      if (auto bad = pack_tile(task.source, *task.out, t)) {
        record(index, pack_fault_error(checkpoint_, *task.spec, *bad));
        return;
      }
  });
  if (first_fault != INT64_MAX) return std::unexpected(std::move(fault));
  return {};
}

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
  w.experts.resize(static_cast<std::size_t>(load.with_experts() ? config.n_routed_experts : 0));
  for (std::int64_t e = 0; e < static_cast<std::int64_t>(w.experts.size()); ++e) {
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
void lay_out(Loader& load, const Checkpoint& checkpoint, ModelWeights& w) {
  w.config = checkpoint.config();
  load.embedding(w.embed);
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
}

double gigabytes(std::int64_t bytes) { return 1e-9 * static_cast<double>(bytes); }

// Bytes for experts from disk; 0: all of them are loaded. Linux grants more memory than there is and ends the process
// later, so what cannot fit is said now.
Result<std::int64_t> expert_memory(const Checkpoint& checkpoint, const ExpertPlacement& placement, std::int64_t all,
                                   std::int64_t dense) {
  const std::int64_t room = available_memory_bytes();
  const std::string& where = checkpoint.directory();
  if (placement.slots > 0) return 1;
  const bool automatic = placement.memory_bytes == ExpertPlacement::kAuto;
  const std::int64_t experts = all - dense, left = room - dense - placement.keep_free_bytes;
  // A caller who wants to keep more free than there is will hear of it from who takes it; experts on disk do not help.
  const bool beside = all + placement.keep_free_bytes <= room || (all <= room && left < experts / 8);
  const bool resident =
      automatic ? room < 0 || beside || checkpoint.files().in_memory() : placement.memory_bytes >= experts;
  if (resident && room >= 0 && all > room)
    return fail(
        ErrorCode::kNoMemory,
        "{}: the packed weights need {:.1f} GB of memory and {:.1f} GB are available; see 'hadal plan --model {}'",
        where, gigabytes(all), gigabytes(room), where);
  if (resident) return 0;
  const std::int64_t memory =
      automatic ? static_cast<std::int64_t>(static_cast<double>(left) / (1 + placement.keep_free_share))
                : placement.memory_bytes;
  if (memory <= 0 || (room >= 0 && dense + memory > room))
    return fail(
        ErrorCode::kNoMemory,
        "{}: with experts on disk the other weights need {:.1f} GB, {:.1f} GB are wanted beside them and {:.1f} GB "
        "are available; see 'hadal plan --model {}'",
        where, gigabytes(dense), gigabytes(automatic ? placement.keep_free_bytes : memory), gigabytes(room), where);
  return memory;
}

}  // namespace

Result<ModelWeights> load_weights(std::shared_ptr<const Checkpoint> checkpoint, const ExpertPlacement& placement) {
  if (!checkpoint->problems().empty()) return std::unexpected(checkpoint->problems().front());
  ModelWeights all, dense;
  Loader load_all(*checkpoint, true), load_dense(*checkpoint, false);
  lay_out(load_all, *checkpoint, all);
  lay_out(load_dense, *checkpoint, dense);
  const std::int64_t memory = HADAL_TRY(expert_memory(*checkpoint, placement, load_all.bytes(), load_dense.bytes()));

  const bool streamed = memory > 0;
  ModelWeights& out = streamed ? dense : all;
  Loader& load = streamed ? load_dense : load_all;
  out.storage_ = std::make_unique<ModelWeights::Storage>();
  out.storage_->arena = HADAL_TRY(Arena::reserve(load.bytes()));
  HADAL_CHECK_OK(load.fill(out.storage_->arena));
  out.resident_bytes = load.bytes();
  if (streamed) {
    auto& store = out.storage_->experts;
    store = HADAL_TRY(ExpertStore::open(checkpoint, {memory, placement.slots, placement.reader}));
    for (BlockWeights& b : out.layers) b.ffn.store = store.get();
    if (out.mtp) out.mtp->block.ffn.store = store.get();
    out.resident_bytes += store->memory_bytes();
  }
  out.fingerprint = checkpoint->fingerprint();
  out.storage_->checkpoint = std::move(checkpoint);
  return std::move(out);
}

}  // namespace hadal
