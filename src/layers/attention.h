// One attention sub-block (spec 4): queries, the single KV head, window, compressed entries, sink, grouped output
// projection. SWA and HCA attend every entry, CSA those the indexer picked; the three differ only in the list of rows.
#pragma once

#include "layers/rotary.h"
#include "layers/state.h"
#include "weights/model_weights.h"

namespace hadal {

struct RotaryTables {
  std::vector<float> plain, compressed;  // f_i [rd/2]
};

// x [count][d] normalised input -> y [count][d]. `ratio` is the layer's compress ratio. Advances the layer's state by
// the step's tokens.
void attention(const Step& step, const AttentionWeights& weights, std::int64_t ratio, const RotaryTables& tables,
               const RowFormat& format, Position frozen, const LayerState& state, const float* x, float* y);

}  // namespace hadal
