#include "chat/tokenize.h"

namespace hadal::chat {

Result<std::vector<TokenId>> prompt_tokens(const Tokenizer& tokenizer, const Rendered& rendered) {
  std::vector<TextSegment> segments;
  for (const TokenRun& run : token_runs(rendered)) {
    if (run.is_marker && !tokenizer.find_added(run.text)) {
      return fail(ErrorCode::kUnsupported, "the tokenizer has no token {}, which this conversation needs", run.text);
    }
    segments.push_back({run.text, run.is_marker});
  }
  return tokenizer.encode(segments);
}

}  // namespace hadal::chat
