#include "sessions/generate.h"

#include <algorithm>

#include "base/clock.h"

namespace hadal {

Status prefill(Timeline& timeline, std::span<const TokenId> prompt, float* last_logits, const GenerateHooks& hooks) {
  auto total = static_cast<std::int64_t>(prompt.size());
  auto piece = static_cast<std::size_t>(timeline.preferred_step());
  for (std::size_t done = 0; done < prompt.size();) {
    if (hooks.on_prefill && !hooks.on_prefill(static_cast<std::int64_t>(done), total))
      return fail(ErrorCode::kCancelled, "stopped after {} of {} prompt tokens", done, total);
    std::size_t n = std::min(piece, prompt.size() - done);
    HADAL_CHECK_OK(timeline.feed(prompt.subspan(done, n), done + n == prompt.size() ? last_logits : nullptr));
    done += n;
  }
  if (hooks.on_prefill) hooks.on_prefill(total, total);
  return {};
}

Result<GenerateResult> generate(Timeline& timeline, std::span<const TokenId> prompt, const GenerateOptions& options,
                                const GenerateHooks& hooks) {
  if (prompt.empty()) return fail(ErrorCode::kUsage, "the prompt is empty; give at least one token");
  HADAL_CHECK_OK(check_sampling(options.sampling));
  const ModelConfig& config = timeline.config();
  std::int64_t room = config.max_position_embeddings - timeline.length() - static_cast<std::int64_t>(prompt.size());
  if (room < 0)
    return fail(ErrorCode::kUsage, "the prompt of {} tokens does not fit: {} of the context's {} are used",
                prompt.size(), timeline.length(), config.max_position_embeddings);
  std::int64_t limit = options.max_tokens < 0 ? room : std::min(room, options.max_tokens);

  std::vector<float> logits(static_cast<std::size_t>(config.vocab_size));
  GenerateResult result;
  result.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  Stopwatch watch;
  HADAL_CHECK_OK(prefill(timeline, prompt, logits.data(), hooks));
  result.prefill_seconds = watch.seconds();
  watch.restart();

  Sampler sampler;
  while (static_cast<std::int64_t>(result.tokens.size()) < limit) {
    Draw draw{options.sampling.seed, static_cast<std::uint64_t>(timeline.length()), options.stream};
    Sampled token = HADAL_TRY(sampler.sample(logits, options.sampling, draw));
    result.tokens.push_back(token);
    bool stop = is_stop(options.sampling, token.id);
    bool enough = hooks.on_token && !hooks.on_token(token);
    HADAL_CHECK_OK(timeline.feed(std::span(&token.id, 1), logits.data()));
    if (stop || enough) {
      result.finish = stop ? FinishReason::kStop : FinishReason::kStopped;
      break;
    }
  }
  result.decode_seconds = watch.seconds();
  return result;
}

}  // namespace hadal
