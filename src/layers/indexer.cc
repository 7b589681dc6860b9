#include "layers/indexer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/span.h"

namespace hadal {
namespace {

// One token's query in the form the score kernel reads.
struct Query {
  std::int8_t* q = nullptr;  // [heads][dim], packed format
  float* q_scale = nullptr;  // [heads][dim/32]
  float* q_f32 = nullptr;    // [heads][dim]
  float* weight = nullptr;   // [heads]
};

// Rotates, applies Hadamard, rounds; folds dim^-0.5 and heads^-0.5 into the head weights (spec 5.2).
void prepare_query(const SequenceStep& step, const IndexerInput& input, const RowFormat& format,
                   const Rotation& rotation, std::int64_t t, const Query& out) {
  const ModelConfig& c = step.config;
  std::int64_t heads = c.index_n_heads, dim = c.index_head_dim;
  for (std::int64_t h = 0; h < heads; ++h) {
    float* q = input.q + (t * heads + h) * dim;
    rotate(step, rotation, step.start + t, q, dim);
    step.kernels.hadamard(q, dim);
    if (step.numerics.round_cache && !format.packed) step.kernels.round_fp4(q, dim, 32);
  }
  float* q = input.q + t * heads * dim;
  if (format.packed)
    step.kernels.encode_index_query(q, static_cast<int>(heads), static_cast<int>(dim), out.q, out.q_scale);
  else
    std::memcpy(out.q_f32, q, static_cast<std::size_t>(heads * dim) * sizeof(float));
  auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)) / std::sqrt(static_cast<double>(heads)));
  step.kernels.scale(factor, input.head_weight + t * heads, heads, out.weight);
}

// Scores of `keys` keys, the first of them the first of pages[0]; scores has room for whole tiles.
void score_pages(const Step& step, const RowFormat& format, const Query& query, const std::byte* const* pages,
                 std::int64_t per_page, std::int64_t keys, float* scores) {
  IndexArgs args;
  args.heads = static_cast<int>(step.config.index_n_heads);
  args.dim = static_cast<int>(step.config.index_head_dim);
  args.q = query.q;
  args.q_scale = query.q_scale;
  args.q_f32 = query.q_f32;
  args.weight = query.weight;
  args.pages = pages;
  args.scores = scores;
  args.page_tiles = format.packed ? per_page / kKeyTile : per_page;
  args.tiles = format.packed ? ceil_div(keys, kKeyTile) : keys;
  (format.packed ? step.kernels.index_scores_packed : step.kernels.index_scores_f32)(args);
}

}  // namespace

CompressorShape index_compressor_shape(const ModelConfig& config) { return {4, config.index_head_dim}; }

void append_index_keys(const SequenceStep& step, const IndexerWeights& weights, const IndexerInput& input,
                       const RowFormat& format, const std::vector<float>& frequencies, Position frozen,
                       const LayerState& state) {
  auto dim = static_cast<int>(step.config.index_head_dim);
  std::int64_t per_page = state.keys.rows_per_page;
  auto write = [&](std::int64_t entry, float* key) {
    step.kernels.hadamard(key, dim);
    std::int64_t in_page = entry % per_page;
    std::byte* base = state.keys.page(entry / per_page);
    if (format.packed) {
      std::byte* tile = base + in_page / kKeyTile * kKeyTile * format.key_bytes();
      step.kernels.encode_index_key(key, dim, tile, static_cast<int>(in_page % kKeyTile));
    } else {
      if (step.numerics.round_cache) step.kernels.round_fp4(key, dim, 32);
      std::memcpy(base + in_page * format.key_bytes(), key, static_cast<std::size_t>(format.key_bytes()));
    }
  };
  compress(step, weights.compressor, index_compressor_shape(step.config), input.keys, frequencies, frozen,
           state.index_tail, write);
}

void select_entries(const SequenceStep& step, const IndexerInput& input, const RowFormat& format,
                    const Rotation& rotation, const LayerState& state, const Selection& out) {
  const ModelConfig& c = step.config;
  std::int64_t count = step.count(), topk = c.index_topk, heads = c.index_n_heads, dim = c.index_head_dim;
  std::int64_t per_page = state.keys.rows_per_page, workers = step.pool.size();
  std::int64_t most = (step.start + count) / 4;  // candidates of the last token
  std::int64_t room = round_up(most, per_page);  // whole pages, so a page's scores never run over
  WorkspaceScope scope(step.workspace);

  // Scores and top-k scratch: one set per worker, or one in all when a single token spreads its pages over the workers.
  std::int64_t sets = count == 1 ? 1 : workers;
  float* scores = step.workspace.take<float>(sets * room);
  std::int32_t* scratch = step.workspace.take<std::int32_t>(sets * room);
  Query* queries = step.workspace.take<Query>(sets);
  auto** pages = step.workspace.take<const std::byte*>(room / per_page);
  for (std::int64_t p = 0; p < room / per_page; ++p) pages[p] = state.keys.page(p);
  for (std::int64_t s = 0; s < sets; ++s) {
    queries[s].q = step.workspace.take<std::int8_t>(heads * dim);
    queries[s].q_scale = step.workspace.take<float>(heads * (dim / 32));
    queries[s].q_f32 = step.workspace.take<float>(heads * dim);
    queries[s].weight = step.workspace.take<float>(heads);
  }

  auto pick = [&](std::int64_t t, std::int64_t set, bool spread) {
    std::int64_t n = (step.start + t + 1) / 4;
    std::int32_t* picked = out.picked + t * topk;
    out.picked_count[t] = static_cast<std::int32_t>(std::min(n, topk));
    if (n <= topk) {
      std::iota(picked, picked + n, 0);
      return;
    }
    prepare_query(step, input, format, rotation, t, queries[set]);
    const std::int64_t runs = spread ? std::min(ceil_div(n, per_page), 8 * workers) : 1;
    const std::int64_t run = ceil_div(ceil_div(n, per_page), runs);  // pages
    step.parallel(runs, spread ? n * heads * dim / 16 : 0, [&](std::int64_t r, int) {
      const std::int64_t first = r * run * per_page, keys = std::min(run * per_page, n - first);
      if (keys > 0)
        score_pages(step, format, queries[set], pages + r * run, per_page, keys, scores + set * room + first);
    });
    step.kernels.top_k(scores + set * room, n, topk, picked, scratch + set * room);
  };
  if (count == 1)
    pick(0, 0, true);
  else
    step.parallel(count, count * most * heads * dim / 16, [&](std::int64_t t, int worker) { pick(t, worker, false); });
}

}  // namespace hadal
