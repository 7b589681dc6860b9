#include "cache/sequence.h"

#include <algorithm>
#include <cstring>

#include "base/span.h"
#include "cache/live_parts.h"

namespace hadal {

Sequence::Sequence(std::shared_ptr<Model> model, CacheLayout layout, bool with_mtp)
    : model_(std::move(model)), layout_(std::move(layout)), with_mtp_(with_mtp) {}

Result<Sequence> Sequence::create(std::shared_ptr<Model> model, bool with_mtp) {
  if (with_mtp && !model->weights().mtp)
    return fail(ErrorCode::kUnsupported, "this checkpoint has no one-step MTP block, so there are no MTP logits");
  CacheLayout layout = CacheLayout::make(model->config(), model->format());
  Sequence s(std::move(model), std::move(layout), with_mtp);
  HADAL_CHECK_OK(s.allocate_state());
  s.bind();
  return s;
}

Status Sequence::allocate_state(bool zero) {
  auto bytes = static_cast<std::size_t>(round_up(layout_.state_bytes, 64));
  block_.reset(static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
  if (!block_) return fail(ErrorCode::kNoMemory, "no memory for a session's windows and tails ({} bytes)", bytes);
  if (zero) std::memset(block_.get(), 0, bytes);
  return {};
}

void Sequence::bind() {
  page_bytes_.resize(pages_.size());
  for (std::size_t i = 0; i < pages_.size(); ++i) page_bytes_[i] = pages_[i].bytes();
  state_.layers.resize(layout_.layers.size());
  for (std::size_t i = 0; i < layout_.layers.size(); ++i) {
    const CacheLayout::Layer& l = layout_.layers[i];
    LayerState& s = state_.layers[i];
    s.window = block_.get() + l.window_offset;
    s.tail = reinterpret_cast<float*>(block_.get() + l.tail_offset);
    s.index_tail = reinterpret_cast<float*>(block_.get() + l.index_tail_offset);
    s.rows = {page_bytes_.data(), l.rows_offset, l.rows_per_page, layout_.row_bytes};
    s.keys = {page_bytes_.data(), l.keys_offset, l.keys_per_page, layout_.key_bytes};
  }
  state_.last_streams = reinterpret_cast<float*>(block_.get() + layout_.streams_offset);
}

Status Sequence::make_room(Position from, Position to) {
  if (layout_.page_bytes == 0) return {};  // a model without compressed layers grows nothing
  auto first = static_cast<std::size_t>(from / layout_.page_tokens);
  auto last = static_cast<std::size_t>(layout_.pages_for(to));
  for (std::size_t i = first; i < std::min(last, pages_.size()); ++i) {
    if (!pages_[i].shared()) continue;
    PageRef own = HADAL_TRY(PageRef::allocate(layout_.page_bytes));
    std::memcpy(own.bytes(), pages_[i].bytes(), static_cast<std::size_t>(layout_.page_bytes));
    pages_[i] = std::move(own);
  }
  while (pages_.size() < last) pages_.push_back(HADAL_TRY(PageRef::allocate(layout_.page_bytes)));
  bind();
  return {};
}

Status Sequence::prepare(std::span<const TokenId> ids) {
  Position from = state_.length, to = from + static_cast<Position>(ids.size());
  if (to > model_->config().max_position_embeddings)  // before any page is allocated for it
    return fail(ErrorCode::kUsage,
                "{} tokens exceed the model's context of {}; shorten the input or start a new session", to,
                model_->config().max_position_embeddings);
  if (damaged_) HADAL_CHECK_OK(refill_step(from));
  std::size_t pages_before = pages_.size();
  if (Status room = make_room(from, to); !room) {
    pages_.resize(pages_before);
    bind();
    return room;
  }
  return {};
}

namespace {

// What is wrong with the request is found before the step begins; memory and disks fail in the middle of it.
bool failed_half_way(const Error& error) {
  return error.code != ErrorCode::kUsage && error.code != ErrorCode::kUnsupported;
}

}  // namespace

Status Sequence::feed(std::span<const TokenId> ids, const FeedOutputs& outputs) {
  if (ids.empty()) return {};
  FeedOutputs wanted = outputs;
  wanted.advance_mtp = wanted.advance_mtp || with_mtp_;
  if (wanted.mtp_logits && !with_mtp_)
    return fail(ErrorCode::kUsage, "MTP logits were asked of a sequence created without them");
  HADAL_CHECK_OK(prepare(ids));
  if (Status fed = model_->feed(state_, ids, wanted); !fed) {
    damaged_ = failed_half_way(fed.error());
    return fed;
  }
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  return {};
}

Status Sequence::feed_together(std::span<const Part> parts) {
  if (parts.empty()) return {};
  std::vector<Model::Part> step;
  step.reserve(parts.size());
  for (const Part& part : parts) {
    Sequence& s = *part.sequence;
    if (s.model_ != parts.front().sequence->model_)
      return fail(ErrorCode::kUsage, "sequences of different models cannot share a step");
    if (s.with_mtp_ && parts.size() > 1)
      return fail(ErrorCode::kUnsupported, "a sequence that keeps the MTP block in step cannot share steps");
    for (const Model::Part& other : step)
      if (other.state == &s.state_) return fail(ErrorCode::kUsage, "a sequence has two parts in one step");
    FeedOutputs outputs;
    outputs.last_logits = part.last_logits;
    outputs.advance_mtp = s.with_mtp_;
    step.push_back({&s.state_, part.ids, outputs});
  }
  for (const Part& part : parts) HADAL_CHECK_OK(part.sequence->prepare(part.ids));
  if (Status fed = parts.front().sequence->model_->feed(step); !fed) {
    for (const Part& part : parts) part.sequence->damaged_ = failed_half_way(fed.error());
    return fed;
  }
  for (const Part& part : parts)
    part.sequence->tokens_.insert(part.sequence->tokens_.end(), part.ids.begin(), part.ids.end());
  return {};
}

Result<Sequence> Sequence::fork() const {
  Sequence s(model_, layout_, with_mtp_);
  HADAL_CHECK_OK(s.allocate_state(false));
  std::memcpy(s.block_.get(), block_.get(), static_cast<std::size_t>(layout_.state_bytes));
  s.tokens_ = tokens_;
  s.pages_ = pages_;
  s.damaged_ = damaged_;
  s.refill_at_ = refill_at_;
  s.state_.length = state_.length;
  s.bind();
  return s;
}

Result<Sequence> Sequence::assemble(std::shared_ptr<Model> model, bool with_mtp, std::vector<TokenId> tokens,
                                    std::vector<PageRef> pages, Bytes state) {
  Sequence s = HADAL_TRY(create(std::move(model), with_mtp));
  const auto length = static_cast<Position>(tokens.size());
  const auto needed = static_cast<std::size_t>(s.layout_.page_bytes ? s.layout_.pages_for(length) : 0);
  if (pages.size() != needed)
    return fail(ErrorCode::kInternal, "{} tokens need {} cache pages, {} were given", length, needed, pages.size());
  if (state.empty()) {
    s.damaged_ = length > 0;
  } else {
    HADAL_CHECK_OK(unpack_state(s.layout_, length, state, s.block_.get()));
  }
  s.tokens_ = std::move(tokens);
  s.pages_ = std::move(pages);
  s.state_.length = length;
  s.bind();
  return s;
}

Status Sequence::stretch(Position depth) {
  const std::int64_t unit = std::max<std::int64_t>(layout_.page_tokens, 1);
  const Position have = state_.length;
  // A window or tail slot of position p is p mod its size; pages are multiples of 128, so of every size a release has.
  const std::int64_t window = model_->config().sliding_window;
  if (have == 0 || have % unit != 0 || depth % unit != 0 || depth < have || unit % window != 0)
    return fail(ErrorCode::kUsage, "a context of {} tokens cannot be stretched to {}: both must be multiples of {}",
                have, depth, unit);
  if (depth > model_->config().max_position_embeddings)
    return fail(ErrorCode::kUsage, "{} tokens exceed the model's context of {}", depth,
                model_->config().max_position_embeddings);
  const std::size_t full = pages_.size();
  HADAL_CHECK_OK(make_room(have, depth));
  for (std::size_t i = full; i < pages_.size(); ++i)
    std::memcpy(pages_[i].bytes(), pages_[i % full].bytes(), static_cast<std::size_t>(layout_.page_bytes));
  tokens_.reserve(static_cast<std::size_t>(depth));
  for (auto i = static_cast<std::size_t>(have); i < static_cast<std::size_t>(depth); ++i)
    tokens_.push_back(tokens_[i % static_cast<std::size_t>(have)]);
  state_.length = depth;
  return {};
}

}  // namespace hadal
