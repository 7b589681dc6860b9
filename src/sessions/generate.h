// Continuing a sequence token by token: feed the prompt, then sample until a stop id, a limit, or the caller says
// enough.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "sampling/sampler.h"
#include "sessions/timeline.h"

namespace hadal {

struct GenerateOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = -1;  // -1: until a stop id or the end of the model's context
  std::uint64_t stream = 0;      // which of several answers to the same request (sampling/philox.h)
};

// Called on the generating thread. Returning false ends the work: in prefill with kCancelled, in decode with kStopped.
struct GenerateHooks {
  std::function<bool(std::int64_t done, std::int64_t total)> on_prefill;
  std::function<bool(const Sampled& token)> on_token;
};

enum class FinishReason {
  kStop,     // a stop id was sampled; it is the last of `tokens` and has been fed
  kLength,   // max_tokens or the model's context
  kStopped,  // on_token said so
};

struct GenerateResult {
  std::vector<Sampled> tokens;
  FinishReason finish = FinishReason::kLength;
  std::int64_t prompt_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;

  double prefill_rate() const { return prefill_seconds > 0 ? static_cast<double>(prompt_tokens) / prefill_seconds : 0; }
  // Every sampled token costs one step of one token.
  double decode_rate() const { return decode_seconds > 0 ? static_cast<double>(tokens.size()) / decode_seconds : 0; }
};

// `prompt` must not be empty: its last token's logits start the answer. Every token that was sampled has been fed when
// this returns, so the timeline can be continued by another prompt.
Result<GenerateResult> generate(Timeline& timeline, std::span<const TokenId> prompt, const GenerateOptions& options,
                                const GenerateHooks& hooks = {});

// Feeds a prompt in pieces of the model's preferred size. `last_logits` (may be null) [vocab]. On cancellation the
// tokens fed so far stay.
Status prefill(Timeline& timeline, std::span<const TokenId> prompt, float* last_logits,
               const GenerateHooks& hooks = {});

}  // namespace hadal
