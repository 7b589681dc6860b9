#include "sessions/answer.h"

#include <algorithm>

namespace hadal {

Result<Answer> Answer::begin(const Tokenizer& tokenizer, const JobRequest& request, std::int64_t room) {
  Answer a(tokenizer, request);
  a.limit_ = request.max_tokens < 0 ? room : std::min(room, request.max_tokens);
  a.stop_ = HADAL_TRY(StopStrings::make(request.stop));
  a.open_ = tokenizer.find_added("<think>");
  a.close_ = tokenizer.find_added("</think>");
  if (request.thinking_budget >= 0 && (!a.open_ || !a.close_))
    return fail(ErrorCode::kUsage, "this model's tokenizer has no </think>, so thinking cannot be limited");
  for (auto id = request.prompt.rbegin(); a.open_ && id != request.prompt.rend(); ++id) {
    if (*id != *a.open_ && *id != a.close_) continue;
    a.thinking_ = *id == *a.open_;
    break;
  }
  if (!a.thinking_) a.put_in_.assign(request.after_thinking.begin(), request.after_thinking.end());
  return a;
}

std::optional<TokenId> Answer::forced() const {
  if (thinking_ && request_->thinking_budget >= 0 && thought_ >= request_->thinking_budget) return close_;
  if (!thinking_ && !put_in_.empty()) return put_in_.front();
  return std::nullopt;
}

Result<std::optional<Answer::End>> Answer::take(TokenId id, bool spliced) {
  const auto end = [](JobFinish finish, int index = -1) { return std::optional<End>({finish, index}); };
  ++length_;
  if (spliced && !thinking_ && !put_in_.empty()) put_in_.pop_front();
  if (!spliced && is_stop(request_->sampling, id)) return end(JobFinish::kStop);
  if (thinking_) {
    if (close_ && id == *close_) {
      thinking_ = false;
      put_in_.assign(request_->after_thinking.begin(), request_->after_thinking.end());
    } else {
      ++thought_;
    }
  } else if (!request_->stop.empty()) {
    std::string text;
    HADAL_CHECK_OK(text_.push(id, text));
    if (const StopStrings::Step step = stop_.feed(text); step.stop >= 0) return end(JobFinish::kStopString, step.stop);
  }
  if (length_ >= limit_) return end(JobFinish::kLength);
  return std::nullopt;
}

}  // namespace hadal
