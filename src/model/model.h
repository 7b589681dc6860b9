// The loaded model and its forward pass in float32 (numerics exact and trained). Memory of the past belongs to the
// caller (cache/sequence.h): feed() reads and advances a SequenceState.
//
// The same tokens give the same bits however they are cut into steps, whatever the thread count, and on every
// instruction set.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"
#include "layers/attention.h"
#include "layers/footprint.h"
#include "layers/state.h"
#include "weights/expert_store.h"
#include "weights/model_weights.h"

namespace hadal {

struct ModelOptions {
  Numerics numerics;
  int threads = 0;  // 0: every core this process may use
  // Replaces the computed frequency tables (conformance tests); both or none.
  std::vector<float> plain_frequencies, compressed_frequencies;
};

// What feed() should give back. Pointers may be null.
struct FeedOutputs {
  float* last_logits = nullptr;  // [vocab], of the last token
  float* all_logits = nullptr;   // [ids.size()][vocab]
  // MTP logits (spec 10). Row i of a sequence needs token i+1, so a step from position p0 gives rows p0-1 .. p0+n-2: n
  // rows, or n-1 when p0 is 0. [rows][vocab]. Null runs the block for its state only, if `advance_mtp`.
  float* mtp_logits = nullptr;
  bool advance_mtp =
      false;  // keep the MTP block's own window in step (needed from the first token on, to use mtp_logits later)
};

class Model {
 public:
  static Result<std::shared_ptr<Model>> create(ModelWeights weights, ModelOptions options);

  const ModelConfig& config() const { return weights_.config; }
  const ModelWeights& weights() const { return weights_; }
  const Numerics& numerics() const { return numerics_; }
  const RowFormat& format() const { return format_; }
  const RotaryTables& tables() const { return tables_; }
  int threads() const { return pool_->size(); }
  // What reading experts from disk came to so far; null when all of them are in memory.
  const ExpertStats* expert_stats() const {
    return weights_.expert_store() ? &weights_.expert_store()->stats() : nullptr;
  }

  std::int64_t preferred_step() const;

  // What one sequence takes part in a step with.
  struct Part {
    SequenceState* state = nullptr;
    std::span<const TokenId> ids = {};
    FeedOutputs outputs = {};
  };

  // One step of several sequences: weights are read once for all of them, and each gets the bits it would get alone.
  // Errors and their effect as below, for all parts. MTP needs a step of its own (kUnsupported).
  Status feed(std::span<const Part> parts);

  // Feeds `ids` at state.length. The caller has made room in the pages. Errors: ids outside the vocabulary, a context
  // beyond max_position_embeddings, MTP asked of a model without it, memory. On error the state is as before. One call
  // at a time: the thread pool and scratch memory are shared.
  Status feed(SequenceState& state, std::span<const TokenId> ids, const FeedOutputs& outputs) {
    const Part part{&state, ids, outputs};
    return feed({&part, 1});
  }

  std::int64_t scratch_bytes() const { return workspace_.peak_bytes(); }  // of the largest step so far

 private:
  Model(ModelWeights weights, const ModelOptions& options);
  Status check(const Part& part) const;
  void write_logits(const Step& step, std::span<const Part> parts, std::span<const StepPiece> pieces,
                    const float* streams);
  Status run_draft(const Step& step, const Part& part, float* lagging);
  ModelWeights weights_;
  Numerics numerics_;
  RowFormat format_;
  RotaryTables tables_;
  std::unique_ptr<ThreadPool> pool_;
  Workspace workspace_;
};

}  // namespace hadal
