#include "weights/expert_files.h"

#include <algorithm>
#include <utility>

namespace hadal {
namespace {

constexpr Role kRoles[] = {Role::kExpertW1, Role::kExpertW3, Role::kExpertW2};
constexpr std::int64_t kSlotAlign = 64;
// Reading over a gap of this size costs less than another request.
constexpr std::uint64_t kMostGap = 64 << 10;
// One request. Sixteen of them in flight are five experts of Flash.
constexpr std::int64_t kReadBytes = std::int64_t{4} << 20;

const PackedMatrix& part(const ExpertWeights& w, std::size_t m) { return m == 0 ? w.w1 : m == 1 ? w.w3 : w.w2; }

}  // namespace

StoredMatrix ExpertFiles::matrix(const Expert& expert, std::size_t m, const std::byte* staging) const {
  StoredMatrix stored = expert.stored[m];
  const Piece &weight = expert.pieces[2 * m], &scale = expert.pieces[2 * m + 1];
  stored.data = Bytes(staging + weight.at, static_cast<std::size_t>(weight.bytes));
  stored.scales = Bytes(staging + scale.at, static_cast<std::size_t>(scale.bytes));
  return stored;
}

Status ExpertFiles::locate(std::int32_t layer, std::int32_t index, const std::vector<int>& file_of_shard,
                           Expert& out) const {
  for (std::size_t m = 0; m < kMatrices; ++m) {
    const TensorSpec& spec = *checkpoint_->table().find(kRoles[m], layer, index);
    const StoredTensor& weight = *checkpoint_->find(spec.name).value();
    if (weight.dtype != DType::kI8 && weight.dtype != DType::kE4M3)
      return fail(ErrorCode::kUnsupported,
                  "{}/{}: tensor '{}' is {}; experts can be left on disk only as FP4 or FP8, give them memory instead",
                  checkpoint_->directory(), checkpoint_->shards()[weight.shard].file, spec.name,
                  dtype_name(weight.dtype));
    const StoredTensor& scale = *checkpoint_->find(spec.scale_name()).value();
    out.specs[m] = &spec;
    out.stored[m] = stored_matrix(*checkpoint_, spec);
    out.stored[m].data = out.stored[m].scales = {};
    for (const StoredTensor* t : {&weight, &scale}) {
      const MappedFile& map = checkpoint_->shards()[t->shard].content->map();
      out.pieces[2 * m + (t == &scale)] = {file_of_shard[t->shard],
                                           static_cast<std::uint64_t>(t->data.data() - map.bytes().data()),
                                           static_cast<std::int64_t>(t->bytes), 0};
    }
  }
  // In file order, merged where near, rounded out to whole blocks.
  std::array<Piece*, 2 * kMatrices> order;
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = &out.pieces[i];
  std::sort(order.begin(), order.end(), [](const Piece* a, const Piece* b) {
    return std::pair(a->file, a->offset) < std::pair(b->file, b->offset);
  });
  constexpr auto kAlign = static_cast<std::uint64_t>(AsyncReader::kAlign);
  std::int64_t at = 0;
  for (Piece* p : order) {
    const std::uint64_t end = p->offset + static_cast<std::uint64_t>(p->bytes);
    Range* last = out.ranges.empty() ? nullptr : &out.ranges.back();
    if (!last || last->file != p->file ||
        p->offset > last->offset + static_cast<std::uint64_t>(last->needed) + kMostGap) {
      if (last) at += last->length;
      out.ranges.push_back({p->file, p->offset / kAlign * kAlign, 0, 0, at});
      last = &out.ranges.back();
    }
    last->needed = std::max(last->needed, static_cast<std::int64_t>(end - last->offset));
    last->length = round_up(last->needed, AsyncReader::kAlign);
    p->at = last->at + static_cast<std::int64_t>(p->offset - last->offset);
  }
  return {};
}

Result<ExpertFiles> ExpertFiles::open(std::shared_ptr<const Checkpoint> checkpoint, AsyncReader& reader) {
  if (checkpoint->files().in_memory())
    return fail(ErrorCode::kUnsupported, "{}: is part of the program, so its experts cannot be left on disk",
                checkpoint->directory());
  const ModelConfig& c = checkpoint->config();
  ExpertFiles files;
  files.checkpoint_ = std::move(checkpoint);
  const Checkpoint& from = *files.checkpoint_;
  files.layers_ = static_cast<std::int32_t>(c.num_hidden_layers + (from.has_mtp() ? 1 : 0));
  files.experts_ = static_cast<std::int32_t>(c.n_routed_experts);

  std::vector<int> file_of_shard;
  for (const Checkpoint::Shard& shard : from.shards())
    file_of_shard.push_back(HADAL_TRY(reader.open(shard.content->map())));
  files.all_.resize(static_cast<std::size_t>(files.keys()));
  for (std::int32_t l = 0; l < files.layers_; ++l)
    for (std::int32_t e = 0; e < files.experts_; ++e) {
      Expert& expert = files.all_[static_cast<std::size_t>(files.key(l, e))];
      HADAL_CHECK_OK(files.locate(l, e, file_of_shard, expert));
      std::int64_t packed = 0;
      for (std::size_t m = 0; m < kMatrices; ++m) {
        const StoredMatrix& stored = expert.stored[m];
        const Encoding encoding = packed_encoding(stored);
        packed += round_up(packed_tile_bytes(stored, encoding), kSlotAlign) +
                  round_up(4 * packed_scale_count(stored, encoding), kSlotAlign);
      }
      files.slot_bytes_ = std::max(files.slot_bytes_, packed);
      files.staging_bytes_ = std::max(files.staging_bytes_, expert.ranges.back().at + expert.ranges.back().length);
    }
  return files;
}

void ExpertFiles::reads(std::int32_t key, std::byte* staging, std::vector<AsyncReader::Read>& out) const {
  out.clear();
  for (const Range& r : all_[static_cast<std::size_t>(key)].ranges)
    for (std::int64_t from = 0; from < r.length; from += kReadBytes) {
      AsyncReader::Read read;
      read.file = r.file;
      read.offset = r.offset + static_cast<std::uint64_t>(from);
      read.length = std::min(kReadBytes, r.length - from);
      read.needed = std::min(read.length, r.needed - from);
      read.buffer = staging + r.at + from;
      out.push_back(read);
    }
}

ExpertWeights ExpertFiles::place(std::int32_t key, std::byte* slot) const {
  const Expert& expert = all_[static_cast<std::size_t>(key)];
  ExpertWeights w;
  for (std::size_t m = 0; m < kMatrices; ++m) {
    const StoredMatrix& stored = expert.stored[m];
    PackedMatrix& out = m == 0 ? w.w1 : m == 1 ? w.w3 : w.w2;
    out = {packed_encoding(stored), stored.rows, stored.cols, slot, nullptr};
    slot += round_up(packed_tile_bytes(stored, out.encoding), kSlotAlign);
    if (out.encoding == Encoding::kFp8) out.scales = reinterpret_cast<const float*>(slot);
    slot += round_up(4 * packed_scale_count(stored, out.encoding), kSlotAlign);
  }
  return w;
}

std::int64_t ExpertFiles::pack_tasks(const ExpertWeights& w) const {
  return ceil_div(w.w1.tile_count() + w.w3.tile_count() + w.w2.tile_count(), kRunsPerTask);
}

std::optional<Error> ExpertFiles::pack(std::int32_t key, const std::byte* staging, const ExpertWeights& out,
                                       std::int64_t task) const {
  const Expert& expert = all_[static_cast<std::size_t>(key)];
  std::int64_t first = task * kRunsPerTask, last = first + kRunsPerTask;
  for (std::size_t m = 0; m < kMatrices && last > 0; ++m) {
    const PackedMatrix& to = part(out, m);
    if (first < to.tile_count()) {
      const StoredMatrix from = matrix(expert, m, staging);
      for (std::int64_t t = std::max<std::int64_t>(first, 0); t < std::min(last, to.tile_count()); ++t)
        if (const auto fault = pack_tile(from, to, t)) return pack_fault_error(*checkpoint_, *expert.specs[m], *fault);
    }
    first -= to.tile_count();
    last -= to.tile_count();
  }
  return std::nullopt;
}

}  // namespace hadal
