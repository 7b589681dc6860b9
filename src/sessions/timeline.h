// One line of tokens a model continues: what generation needs to know, whichever arithmetic stands behind it.
#pragma once

#include <memory>
#include <span>

#include "base/ids.h"
#include "base/result.h"
#include "cache/sequence.h"
#include "model/reference_model.h"

namespace hadal {

class Timeline {
 public:
  virtual ~Timeline() = default;
  virtual const ModelConfig& config() const = 0;
  virtual std::span<const TokenId> tokens() const = 0;
  virtual std::int64_t preferred_step() const = 0;  // tokens a long prompt is best cut into
  // Appends tokens; last_logits (may be null) [vocab] of the last one. On error nothing changes.
  virtual Status feed(std::span<const TokenId> ids, float* last_logits) = 0;
  virtual Status rewind(Position length) = 0;
  virtual std::int64_t memory_bytes() const = 0;  // what the past occupies

  Position length() const { return static_cast<Position>(tokens().size()); }
};

// Numerics exact and trained.
class SequenceTimeline final : public Timeline {
 public:
  explicit SequenceTimeline(Sequence sequence) : sequence_(std::move(sequence)) {}
  const ModelConfig& config() const override { return sequence_.model()->config(); }
  std::span<const TokenId> tokens() const override { return sequence_.tokens(); }
  std::int64_t preferred_step() const override { return sequence_.model()->preferred_step(); }
  Status feed(std::span<const TokenId> ids, float* last_logits) override {
    FeedOutputs outputs;
    outputs.last_logits = last_logits;
    return sequence_.feed(ids, outputs);
  }
  Status rewind(Position length) override { return sequence_.rewind(length); }
  std::int64_t memory_bytes() const override { return sequence_.memory_bytes(); }
  Sequence& sequence() { return sequence_; }

 private:
  Sequence sequence_;
};

// Numerics reference: double precision. Rewinding feeds everything again.
class ReferenceTimeline final : public Timeline {
 public:
  explicit ReferenceTimeline(std::shared_ptr<ReferenceModel> model) : model_(std::move(model)) { model_->reset(); }
  const ModelConfig& config() const override { return model_->config(); }
  std::span<const TokenId> tokens() const override { return tokens_; }
  std::int64_t preferred_step() const override { return 64; }  // double logits of every position are kept for a feed
  Status feed(std::span<const TokenId> ids, float* last_logits) override;
  Status rewind(Position length) override;
  std::int64_t memory_bytes() const override { return 0; }

 private:
  std::shared_ptr<ReferenceModel> model_;  // holds the state too: one timeline at a time
  std::vector<TokenId> tokens_;
};

}  // namespace hadal
