#include "cache/window_policy.h"

#include <algorithm>
#include <cmath>

#include "cache/sequence.h"

namespace hadal {
namespace {
// Tokens between kept boundaries: a turn of an agent is a few hundred tokens of call, result and reasoning.
constexpr double kTurnTokens = 512;
// Deep enough for a refill to cost its full window x layers tokens.
constexpr Position kDeep = Position{1} << 20;
}  // namespace

WindowPolicy choose_policy(double disk_bytes_per_s, double prefill_tokens_per_s, const CacheLayout& layout,
                           const ModelConfig& config) {
  if (!(disk_bytes_per_s > 0) || !(prefill_tokens_per_s > 0)) return {};
  const double moved = static_cast<double>(layout.state_bytes) / disk_bytes_per_s;  // s to read or write one block
  const auto refilled = static_cast<double>(kDeep - refill_start(config, layout, kDeep));
  const double none = refilled / prefill_tokens_per_s;
  const double full = 2 * moved;
  // With a block every p tokens a boundary pays its share of the writing, one reading, and p/2 tokens fed again on
  // average; the best p balances the first with the last.
  const double period = std::max(kTurnTokens, std::sqrt(2 * moved * prefill_tokens_per_s * kTurnTokens));
  const double periodic = moved * kTurnTokens / period + moved + period / 2 / prefill_tokens_per_s;
  if (full <= periodic && full <= none) return {};
  if (none <= periodic) return {WindowPolicy::Kind::kNone, 0};
  return {WindowPolicy::Kind::kPeriodic, static_cast<Position>(std::llround(period))};
}

}  // namespace hadal
