#include "sessions/timeline.h"

#include <algorithm>

namespace hadal {

Status ReferenceTimeline::feed(std::span<const TokenId> ids, float* last_logits) {
  if (ids.empty()) return {};
  ReferenceLogits logits = HADAL_TRY(model_->feed(ids));
  if (last_logits) std::copy(logits.main.end() - config().vocab_size, logits.main.end(), last_logits);
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  return {};
}

Status ReferenceTimeline::rewind(Position length) {
  if (length < 0 || length > this->length())
    return fail(ErrorCode::kUsage, "cannot rewind to {} tokens: the sequence has {}", length, this->length());
  std::vector<TokenId> kept(tokens_.begin(), tokens_.begin() + length);
  model_->reset();
  tokens_.clear();
  for (std::size_t at = 0; at < kept.size(); at += 64)
    HADAL_CHECK_OK(
        feed(std::span<const TokenId>(kept).subspan(at, std::min<std::size_t>(64, kept.size() - at)), nullptr));
  return {};
}

}  // namespace hadal
