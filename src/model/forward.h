// The stack (spec 2): embedding, blocks, head. Every function works on the tokens of one step.
#pragma once

#include "layers/attention.h"
#include "layers/state.h"
#include "layers/step.h"
#include "weights/model_weights.h"

namespace hadal {

// X[t] = embed[token t], n times. streams [count][n][d]. Errors: those of reading a row.
Status embed(const Step& step, const ModelWeights& weights, float* streams);

// One block: attention, then mixture of experts, each inside its hyper-connection. `layer` indexes the states' layers.
// Errors: those of reading an expert.
Status block(const Step& step, const BlockWeights& weights, std::int64_t layer, const RotaryTables& tables,
             const RowFormat& format, std::span<const StepPiece> pieces, float* streams);

// logits [rows][vocab] = head . RMSNorm(HeadCollapse(X)) for the rows of streams [rows][n][d].
void read_out(const Step& step, const HyperConnectionWeights& collapse, const float* norm, const PackedMatrix& head,
              const float* streams, std::int64_t rows, float* logits);

}  // namespace hadal
