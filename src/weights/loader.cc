#include "weights/loader.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <string>

#include "machine/thread_pool.h"
#include "numbers/bf16.h"
#include "weights/load_progress.h"

namespace hadal {
namespace {

constexpr std::int64_t kAlign = 64;         // a cache line, and a zmm register
constexpr std::int64_t kTilesPerTask = 64;  // 64 runs of 16 rows: a few MB, long enough to hide handing out tasks

}  // namespace

std::int64_t Loader::take(Block block, std::int64_t bytes) {
  return std::exchange(bytes_[block], round_up(bytes_[block] + bytes, kAlign));
}

// The table was built from this configuration and the checkpoint checked against the table, so the row is there.
const TensorSpec& Loader::spec(Role role, std::int64_t layer, std::int64_t expert) {
  return *checkpoint_.table().find(role, layer, expert);
}

void Loader::matrix_part(PackedMatrix& out, const TensorSpec& spec, StoredMatrix from, Encoding encoding) {
  out = {encoding, from.rows, from.cols, nullptr, nullptr};
  const Block block = spec.expert == kNoExpert ? kDense : kExperts;
  const std::int64_t tiles = take(block, packed_tile_bytes(from, encoding));
  const std::int64_t scales =
      take(block, packed_scale_count(from, encoding) * static_cast<std::int64_t>(sizeof(float)));
  matrices_.push_back({from, &out, tiles, scales, &spec, block});
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
  vectors_.push_back(
      {&row, take(kDense, row.elements() * static_cast<std::int64_t>(sizeof(float))), &out, nullptr, nullptr});
}

void Loader::expert_ids(const std::int32_t*& out, Role role, std::int64_t layer) {
  const TensorSpec& row = spec(role, layer, kNoExpert);
  vectors_.push_back(
      {&row, take(kDense, row.elements() * static_cast<std::int64_t>(sizeof(std::int32_t))), nullptr, &out, nullptr});
}

// The embedding is looked up a row at a time and stays in its file if it is BF16 there, as in every release.
Status Loader::embedding(Embedding& out) {
  const TensorSpec& row = spec(Role::kEmbed, kNoLayer, kNoExpert);
  const StoredTensor& stored = *checkpoint_.find(row.name).value();
  const bool aligned = reinterpret_cast<std::uintptr_t>(stored.data.data()) % alignof(std::uint16_t) == 0;
  bool in_place = stored.dtype == DType::kBF16;  // fill() then only checks it
  if (in_place && checkpoint_.files().in_memory()) {
    in_place = aligned;
    out = Embedding(reinterpret_cast<const std::uint16_t*>(stored.data.data()), row.cols());
  } else if (in_place) {
    const MappedFile& map = checkpoint_.shards()[stored.shard].content->map();
    out = Embedding(HADAL_TRY(SteadyFile::open(map, false)),
                    static_cast<std::uint64_t>(stored.data.data() - map.bytes().data()), row.cols());
  }
  vectors_.push_back({&row, in_place ? -1 : take(kDense, row.elements() * 2), nullptr, nullptr, &out});
  return {};
}

Status Loader::fill_vector(const VectorTask& task, std::byte* dense) const {
  const StoredTensor& stored = *checkpoint_.find(task.spec->name).value();
  auto bad = [&](std::int64_t index, std::string_view what) {
    return fail(ErrorCode::kBadInput, "{}/{}: tensor '{}' {} at row {}, column {}; fetch the file again",
                checkpoint_.directory(), checkpoint_.shards()[stored.shard].file, task.spec->name, what,
                index / task.spec->cols(), index % task.spec->cols());
  };
  const std::int64_t count = task.spec->elements();
  const std::byte* in = stored.data.data();
  if (task.ids) {
    auto* ids = reinterpret_cast<std::int32_t*>(dense + task.offset);
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t id = 0;
      std::memcpy(&id, in + i * 8, 8);
      if (id < 0 || id >= config_.n_routed_experts)
        return bad(i, fmt::format("names expert {} of {}", id, config_.n_routed_experts));
      ids[i] = static_cast<std::int32_t>(id);
    }
    return {};
  }
  auto* floats = task.floats ? reinterpret_cast<float*>(dense + task.offset) : nullptr;
  auto* words = task.embedding && task.offset >= 0 ? reinterpret_cast<std::uint16_t*>(dense + task.offset) : nullptr;
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
  return {};
}

Status Loader::fill(Block block, std::byte* memory) {
  struct Slice {
    std::size_t matrix;
    std::int64_t begin, end;  // tiles
  };
  std::vector<Slice> slices;
  for (std::size_t m = 0; m < matrices_.size(); ++m) {
    const MatrixTask& task = matrices_[m];
    if (task.block != block) continue;
    point(task, memory);
    for (std::int64_t t = 0; t < task.out->tile_count(); t += kTilesPerTask)
      slices.push_back({m, t, std::min(t + kTilesPerTask, task.out->tile_count())});
  }

  // Of several faults the first in table order is reported, whichever thread met its own first.
  const std::int64_t vector_count = block == kDense ? static_cast<std::int64_t>(vectors_.size()) : 0;
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
  ThreadPool pool(bytes(block) < kWorthThreads ? 1 : 0);
  LoadProgress progress(block == kDense ? "packing dense weights" : "packing experts", bytes(block));
  pool.for_each(vector_count + static_cast<std::int64_t>(slices.size()), [&](std::int64_t index, int) {
    if (index < vector_count) {
      if (auto ok = fill_vector(vectors_[static_cast<std::size_t>(index)], memory); !ok)
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
    progress.add((slice.end - slice.begin) * task.out->tile_run_bytes());
  });
  if (first_fault != INT64_MAX) return std::unexpected(std::move(fault));
  if (block == kDense)
    for (const VectorTask& task : vectors_) point(task, memory);
  return {};
}

void Loader::adopt(const std::byte* dense) {
  for (const MatrixTask& task : matrices_)
    if (task.block == kDense) point(task, dense);
  for (const VectorTask& task : vectors_) point(task, dense);
}

void Loader::point(const MatrixTask& task, const std::byte* memory) {
  task.out->tiles = memory + task.tiles_offset;
  if (task.out->encoding == Encoding::kFp8)
    task.out->scales = reinterpret_cast<const float*>(memory + task.scales_offset);
}

void Loader::point(const VectorTask& task, const std::byte* dense) {
  if (task.offset < 0) return;
  const std::byte* at = dense + task.offset;
  if (task.floats) *task.floats = reinterpret_cast<const float*>(at);
  if (task.ids) *task.ids = reinterpret_cast<const std::int32_t*>(at);
  if (task.embedding) *task.embedding = Embedding(reinterpret_cast<const std::uint16_t*>(at), task.spec->cols());
}

std::uint64_t Loader::arrangement() const {
  std::string text = "hadal-packed-1";
  for (const MatrixTask& t : matrices_)
    if (t.block == kDense)
      text += fmt::format("\n{} {} {} {} {} {} {}", t.spec->name, static_cast<int>(t.out->encoding), t.source.first_row,
                          t.out->rows, t.out->cols, t.tiles_offset, t.scales_offset);
  for (const VectorTask& t : vectors_) text += fmt::format("\n{} {} {}", t.spec->name, t.spec->elements(), t.offset);
  text += fmt::format("\n{:016x}", packing_digest());
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace hadal
