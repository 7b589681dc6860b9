// What an answer's next token must be, and when the answer ends: thinking budgets, tokens that are put in, stop
// strings, limits. Pure bookkeeping over token ids; the model and the sampler are elsewhere.
#pragma once

#include <deque>
#include <optional>

#include "sampling/stop_strings.h"
#include "sessions/job.h"
#include "tokens/tokenizer.h"

namespace hadal {

class Answer {
 public:
  // `room`: tokens the model's context leaves for the answer. kUsage: bad stop strings; a thinking budget or
  // after_thinking asked of a tokenizer without <think> and </think>. `request` must outlive the answer.
  static Result<Answer> begin(const Tokenizer& tokenizer, const JobRequest& request, std::int64_t room);

  // The token that must come next, whatever the model would say; none: sample one.
  std::optional<TokenId> forced() const;

  struct End {
    JobFinish finish;
    int stop_index = -1;  // kStopString: which of request.stop
  };
  // Takes the next token. `spliced`: it was forced. An answer that has ended takes no more.
  Result<std::optional<End>> take(TokenId id, bool spliced);

  bool may_begin() const { return limit_ > 0; }  // false: there is room for no token at all
  std::int64_t length() const { return length_; }
  std::int64_t thinking() const { return thought_; }  // tokens of reasoning, </think> not counted

 private:
  Answer(const Tokenizer& tokenizer, const JobRequest& request) : request_(&request), text_(tokenizer) {}

  const JobRequest* request_;
  StreamDecoder text_;
  StopStrings stop_;
  std::optional<TokenId> open_, close_;  // <think>, </think>
  std::deque<TokenId> put_in_;           // what is left of after_thinking
  bool thinking_ = false;
  std::int64_t limit_ = 0, length_ = 0, thought_ = 0;
};

}  // namespace hadal
