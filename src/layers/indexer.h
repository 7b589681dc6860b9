// The lightning indexer of CSA layers (spec 5.2): scores every index key for a query token and picks the index_topk
// best entries.
#pragma once

#include "layers/compressor.h"
#include "layers/state.h"
#include "weights/model_weights.h"

namespace hadal {

struct IndexerInput {
  CompressorInput keys;          // projections of the indexer's own compressor
  float* q = nullptr;            // [count][heads*dim]
  float* head_weight = nullptr;  // [count][heads], raw weights_proj output
};

CompressorShape index_compressor_shape(const ModelConfig& config);

// Appends index keys of the windows that close in this step.
void append_index_keys(const SequenceStep& step, const IndexerWeights& weights, const IndexerInput& input,
                       const RowFormat& format, const std::vector<float>& frequencies, Position frozen,
                       const LayerState& state);

// Picks entries for every token of the step: picked[t * index_topk ..], ascending, picked_count[t] of them.
// `rotation` holds rows for the step's positions (compressed table). `out` has room for all of it.
struct Selection {
  std::int32_t* picked = nullptr;        // [count][index_topk]
  std::int32_t* picked_count = nullptr;  // [count]
};
void select_entries(const SequenceStep& step, const IndexerInput& input, const RowFormat& format,
                    const Rotation& rotation, const LayerState& state, const Selection& out);

}  // namespace hadal
