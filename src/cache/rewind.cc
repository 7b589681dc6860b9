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
Position Sequence::refill_start(Position length) const {
  const ModelConfig& c = model_->config();
  auto blocks = static_cast<std::int64_t>(layout_.layers.size());
  std::int64_t held = c.sliding_window + 1;  // the MTP block lags one token behind
  std::int64_t unit = 1;
  for (const CacheLayout::Layer& l : layout_.layers) {
    if (!l.ratio) continue;
    held = std::max(held, CompressorShape{l.ratio, c.head_dim}.tail_slots() + 1);
    unit = std::lcm(unit, l.ratio);
  }
  Position start = length - blocks * c.sliding_window - held;
  return start <= 0 ? 0 : start / unit * unit;  // aligned: every compressor window begins empty
}

Status Sequence::refill(Position length) {
  Position start = refill_start(length);
  std::memset(block_.get(), 0, static_cast<std::size_t>(layout_.state_bytes));
  state_.frozen = length;
  state_.length = start;
  std::span<const TokenId> old(tokens_.data() + start, static_cast<std::size_t>(length - start));
  FeedOutputs outputs;
  outputs.advance_mtp = with_mtp_;
  Status status;
  for (auto step = static_cast<std::size_t>(model_->preferred_step()); status && !old.empty();) {
    std::span<const TokenId> piece = old.first(std::min(step, old.size()));
    status = model_->feed(state_, piece, outputs);
    old = old.subspan(piece.size());
  }
  state_.frozen = 0;
  state_.length = length;  // also after a failure: the windows are then marked damaged, and the next use refills them
  damaged_ = !status;
  return status;
}

Status Sequence::rewind(Position length) {
  if (length < 0 || length > state_.length)
    return fail(ErrorCode::kUsage, "cannot rewind to {} tokens: the sequence has {}", length, state_.length);
  if (length == state_.length && !damaged_) return {};
  Position before = state_.length;
  if (Status done = refill(length); !done) {
    state_.length = before;
    return done;
  }
  tokens_.resize(static_cast<std::size_t>(length));
  if (layout_.page_bytes) pages_.resize(static_cast<std::size_t>(layout_.pages_for(length)));
  bind();
  return {};
}

}  // namespace hadal
