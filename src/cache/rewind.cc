// Rewinding: compressed rows of the kept tokens are still in the pages; windows and open tails are not, and come back
// by feeding earlier tokens again with the pages frozen (spec 9.4, report 3.6).
#include <algorithm>
#include <cstring>
#include <numeric>

#include "cache/sequence.h"
#include "layers/compressor.h"

namespace hadal {

// A token to start from so that everything is exact at `length`. Starting at s with empty windows, a layer's input is
// exact once W-1 exact tokens lie before it in the layer below; so layer l is exact from s + l(W-1) on. What must be
// exact at `length` is the last window of the last layer and the tokens its open compressor windows hold.
Position refill_start(const ModelConfig& config, const CacheLayout& layout, Position length) {
  auto blocks = static_cast<std::int64_t>(layout.layers.size());
  std::int64_t held = config.sliding_window + 1;  // the MTP block lags one token behind
  std::int64_t unit = 1;
  for (const CacheLayout::Layer& l : layout.layers) {
    if (!l.ratio) continue;
    held = std::max(held, CompressorShape{l.ratio, config.head_dim}.tail_slots() + 1);
    unit = std::lcm(unit, l.ratio);
  }
  Position start = length - blocks * config.sliding_window - held;
  return start <= 0 ? 0 : start / unit * unit;  // aligned: every compressor window begins empty
}

Status Sequence::refill_step(Position most) {
  if (!damaged_) return {};
  const Position length = state_.length;
  if (refill_at_ < 0) {
    std::memset(block_.get(), 0, static_cast<std::size_t>(layout_.state_bytes));
    refill_at_ = refill_start();
  }
  FeedOutputs outputs;
  outputs.advance_mtp = with_mtp_;
  state_.frozen = length;
  state_.length = refill_at_;
  Status status;
  for (const Position end = std::min(length, refill_at_ + std::max<Position>(most, 1));
       status && state_.length < end;) {
    const Position piece = std::min(model_->preferred_step(), end - state_.length);
    status = model_->feed(state_, {tokens_.data() + state_.length, static_cast<std::size_t>(piece)}, outputs);
  }
  refill_at_ = status ? state_.length : -1;  // after a failure from the start again
  state_.frozen = 0;
  state_.length = length;
  if (refill_at_ == length) {
    damaged_ = false;
    refill_at_ = -1;
  }
  return status;
}

Status Sequence::rewind(Position length) {
  if (length < 0 || length > state_.length)
    return fail(ErrorCode::kUsage, "cannot rewind to {} tokens: the sequence has {}", length, state_.length);
  if (length == state_.length && !damaged_) return {};
  const Position before = state_.length;
  state_.length = length;
  damaged_ = true;
  refill_at_ = -1;
  if (Status done = refill_step(length); !done) {
    state_.length = before;
    return done;
  }
  tokens_.resize(static_cast<std::size_t>(length));
  if (layout_.page_bytes) pages_.resize(static_cast<std::size_t>(layout_.pages_for(length)));
  bind();
  return {};
}

}  // namespace hadal
