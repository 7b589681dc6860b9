// One attention sub-block (spec 4): queries, the single KV head, window, compressed entries, sink, grouped output
// projection. SWA and HCA attend every entry, CSA those the indexer picked; the three differ only in the list of rows.
#pragma once

#include <span>

#include "layers/rotary.h"
#include "layers/state.h"
#include "weights/model_weights.h"

namespace hadal {

struct RotaryTables {
  std::vector<float> plain, compressed;  // f_i [rd/2]
};

// x [count][d] normalised input -> y [count][d]. `layer` indexes SequenceState::layers; its states advance by the
// tokens of their piece. The pieces cover the step in order, each of another sequence.
void attention(const Step& step, const AttentionWeights& weights, std::int64_t layer, const RotaryTables& tables,
               const RowFormat& format, std::span<const StepPiece> pieces, const float* x, float* y);

}  // namespace hadal
