#include "layers/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "base/span.h"
#include "layers/compressor.h"
#include "layers/indexer.h"
#include "layers/linear.h"
#include "layers/window.h"

namespace hadal {

RowFormat row_format(const ModelConfig& config, const Numerics& numerics) {
  return {{static_cast<int>(config.head_dim), static_cast<int>(config.qk_rope_head_dim)},
          static_cast<int>(config.index_head_dim),
          numerics.fast && numerics.round_cache};
}

namespace {

// Writes a rotated KV vector as a cache row.
void store_row(const Step& step, const RowFormat& format, float* kv, std::byte* row) {
  if (format.packed) {
    step.kernels.encode_row(format.shape, kv, row);
    return;
  }
  if (step.numerics.round_cache) step.kernels.round_fp8(kv, format.shape.nope(), 64);
  std::memcpy(row, kv, static_cast<std::size_t>(format.row_bytes()));
}

// Attention of `heads` heads of one query over a finished list of rows, in segments that merge in order.
struct AttendScratch {
  float *max, *sum, *acc;
  std::byte* kernel;
};

void attend(const Step& step, const RowFormat& format, const RowList& list, const float* q, int heads,
            const float* sinks, const AttendScratch& scratch, float* out) {
  int dim = format.shape.head_dim;
  int segments = 0;
  for (std::int64_t first = 0; first < list.size(); first += kAttendSegment, ++segments) {
    AttendArgs args;
    args.shape = format.shape;
    args.heads = heads;
    args.q = q;
    args.rows = list.slots() + first;
    args.row_count = std::min<std::int64_t>(kAttendSegment, list.size() - first);
    args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
    args.max = scratch.max + segments * heads;
    args.sum = scratch.sum + segments * heads;
    args.acc = scratch.acc + static_cast<std::int64_t>(segments) * heads * dim;
    args.scratch = scratch.kernel;
    (format.packed ? step.kernels.attend_packed : step.kernels.attend_f32)(args);
  }
  step.kernels.attend_merge(scratch.max, scratch.sum, scratch.acc, segments, heads, dim, sinks, out);
}

// What attention keeps of a piece while its queries are answered.
struct Piece {
  SequenceStep step;
  const LayerState* state;
  Rotation rotation;
  StepRows own;

  // Of token t of the whole step.
  Position position(const Step& whole, std::int64_t t) const {
    return step.start + t - (step.ids.data() - whole.ids.data());
  }
};

}  // namespace

void attention(const Step& step, const AttentionWeights& weights, std::int64_t layer, const RotaryTables& tables,
               const RowFormat& format, std::span<const StepPiece> pieces, const float* x, float* y) {
  const ModelConfig& c = step.config;
  const auto eps = static_cast<float>(c.rms_norm_eps);
  const std::int64_t ratio = c.ratio(layer);
  std::int64_t count = step.count(), H = c.num_attention_heads, D = c.head_dim, d = c.hidden_size;
  WorkspaceScope scope(step.workspace);
  const std::vector<float>& frequencies = ratio ? tables.compressed : tables.plain;
  auto* parts = step.workspace.take<Piece>(static_cast<std::int64_t>(pieces.size()));
  auto* part_of = step.workspace.take<std::int32_t>(count);
  StepRows own{step.workspace.take<std::byte>(count * format.row_bytes()), format.row_bytes()};
  Position end = 0;  // of the longest sequence
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const StepPiece& p = pieces[i];
    const SequenceStep part = p.of(step);
    new (&parts[i]) Piece{part,
                          &p.state->layers[static_cast<std::size_t>(layer)],
                          rotation_rows(step, frequencies, part.start, 1, p.count),
                          {own.rows + p.first * own.row_bytes, own.row_bytes}};
    std::fill_n(part_of + p.first, p.count, static_cast<std::int32_t>(i));
    end = std::max(end, part.start + p.count);
  }

  // Everything that reads x shares one pass over its packed forms.
  Input input(x, d, count, d);
  float* qr = step.workspace.take<float>(count * c.q_lora_rank);
  float* kv = step.workspace.take<float>(count * D);
  CompressorInput compressed;
  IndexerInput index;
  Product products[7];
  std::size_t used = 0;
  products[used++] = {&weights.wq_a, &input, qr, c.q_lora_rank};
  products[used++] = {&weights.wkv, &input, kv, D};
  if (ratio) {
    compressed = compressor_input(step, weights.compressor);
    products[used++] = {&weights.compressor.wkv, &input, compressed.c, compressed.width};
    products[used++] = {&weights.compressor.wgate, &input, compressed.z, compressed.width};
  }
  if (ratio == 4) {
    const IndexerWeights& w = weights.indexer;
    index.keys = compressor_input(step, w.compressor);
    index.head_weight = step.workspace.take<float>(count * c.index_n_heads);
    products[used++] = {&w.compressor.wkv, &input, index.keys.c, index.keys.width};
    products[used++] = {&w.compressor.wgate, &input, index.keys.z, index.keys.width};
    products[used++] = {&w.weights_proj, &input, index.head_weight, c.index_n_heads};
  }
  multiply(step, std::span<const Product>(products, used));

  step.parallel(count, count * (D + c.q_lora_rank) * 4, [&](std::int64_t t, int) {
    step.kernels.rms_norm(qr + t * c.q_lora_rank, weights.q_norm, c.q_lora_rank, eps, qr + t * c.q_lora_rank);
    float* row = kv + t * D;
    step.kernels.rms_norm(row, weights.kv_norm, D, eps, row);
    const Piece& part = parts[part_of[t]];
    rotate(step, part.rotation, part.position(step, t), row, D);
    store_row(step, format, row, own.rows + t * own.row_bytes);
  });

  Input query_input(qr, c.q_lora_rank, count, c.q_lora_rank);
  float* q = step.workspace.take<float>(count * H * D);
  if (ratio == 4) {
    std::int64_t width = c.index_n_heads * c.index_head_dim;
    index.q = step.workspace.take<float>(count * width);
    multiply(step, {{&weights.wq_b, &query_input, q, H * D}, {&weights.indexer.wq_b, &query_input, index.q, width}});
  } else {
    multiply(step, {{&weights.wq_b, &query_input, q, H * D}});
  }

  Selection selection;
  if (ratio == 4)
    selection = {step.workspace.take<std::int32_t>(count * c.index_topk), step.workspace.take<std::int32_t>(count)};
  for (std::size_t i = 0; ratio && i < pieces.size(); ++i) {
    const std::int64_t first = pieces[i].first;
    const Piece& part = parts[i];
    const Position frozen = pieces[i].state->frozen;
    WorkspaceScope own_scope(step.workspace);
    compress(part.step, weights.compressor, {ratio, D}, compressed.from(first), frequencies, frozen, part.state->tail,
             [&](std::int64_t entry, float* values) { store_row(step, format, values, part.state->rows.row(entry)); });
    if (ratio != 4) continue;
    const IndexerInput part_index{index.keys.from(first), index.q + first * c.index_n_heads * c.index_head_dim,
                                  index.head_weight + first * c.index_n_heads};
    append_index_keys(part.step, weights.indexer, part_index, format, frequencies, frozen, *part.state);
    select_entries(part.step, part_index, format, part.rotation, *part.state,
                   {selection.picked + first * c.index_topk, selection.picked_count + first});
  }

  // A lone token spreads its heads over the threads; otherwise a task is a token.
  std::int64_t entries = ratio == 0 ? 0 : ratio == 4 ? c.index_topk : end / ratio;
  std::int64_t slots = RowList::capacity(c.sliding_window, entries);
  std::int64_t segments = ceil_div(slots, kAttendSegment);
  std::int64_t head_groups = count >= step.pool.size() ? 1 : std::min<std::int64_t>(step.pool.size(), ceil_div(H, 8));
  std::int64_t group = ceil_div(H, head_groups), workers = step.pool.size();
  struct WorkerScratch {
    const std::byte** slots;
    AttendScratch attend;
  };
  auto* scratch = step.workspace.take<WorkerScratch>(workers);
  for (std::int64_t w = 0; w < workers; ++w) {
    scratch[w].slots = step.workspace.take<const std::byte*>(slots);
    scratch[w].attend.max = step.workspace.take<float>(segments * group);
    scratch[w].attend.sum = step.workspace.take<float>(segments * group);
    scratch[w].attend.acc = step.workspace.take<float>(segments * group * D);
    scratch[w].attend.kernel =
        step.workspace.take<std::byte>(step.kernels.attend_scratch_bytes(format.shape, static_cast<int>(group)));
  }
  float* o = step.workspace.take<float>(count * H * D);
  step.parallel(
      count * head_groups, count * H * D * (c.sliding_window + entries) / 8, [&](std::int64_t task, int worker) {
        std::int64_t t = task / head_groups, first = task % head_groups * group, heads = std::min(group, H - first);
        if (heads <= 0) return;
        const Piece& part = parts[part_of[t]];
        const Position p = part.position(step, t);
        for (std::int64_t h = first; h < first + heads; ++h) {
          float* head = q + (t * H + h) * D;
          step.kernels.rms_norm(head, nullptr, D, eps, head);
          rotate(step, part.rotation, p, head, D);
        }
        RowList list(scratch[worker].slots, part.step, *part.state, part.own);
        list.add_window(p);
        if (ratio == 4)
          list.add_entries(selection.picked + t * c.index_topk, selection.picked_count[t]);
        else if (ratio)
          list.add_entries((p + 1) / ratio);
        float* out = o + (t * H + first) * D;
        attend(step, format, list, q + (t * H + first) * D, static_cast<int>(heads), weights.attn_sink + first,
               scratch[worker].attend, out);
        for (std::int64_t h = 0; h < heads; ++h) rotate(step, part.rotation, p, out + h * D, D, /*inverse=*/true);
      });
  for (std::size_t i = 0; i < pieces.size(); ++i) remember_window(parts[i].step, parts[i].own, *parts[i].state);

  // Grouped output projection (spec 4.5): group g of heads has its own R x (H*D/G) matrix.
  std::int64_t G = c.o_groups, R = c.o_lora_rank, span = H * D / G;
  float* u = step.workspace.take<float>(count * G * R);
  auto* groups = step.workspace.take<Product>(G);
  auto* inputs = step.workspace.take<Input>(G);
  for (std::int64_t g = 0; g < G; ++g) {
    Input* part = new (&inputs[g]) Input(o + g * span, H * D, count, span);
    groups[g] = {&weights.wo_a[static_cast<std::size_t>(g)], part, u + g * R, G * R, /*may_round=*/false};
  }
  multiply(step, std::span<const Product>(groups, static_cast<std::size_t>(G)));
  Input u_input(u, G * R, count, G * R);
  multiply(step, {{&weights.wo_b, &u_input, y, d}});
}

}  // namespace hadal
