// Does a session's log say what this model says? Feeds a branch again and draws every sampled token anew, with the
// parameters and seeds in the log.
#pragma once

#include <functional>
#include <optional>

#include "base/result.h"
#include "sessions/engine.h"
#include "sessions/session_log.h"

namespace hadal {

struct ReplayDifference {
  Position position = 0;
  TokenId logged{}, drawn{};                     // equal when only the probabilities differ
  double logged_logprob = 0, drawn_logprob = 0;  // raw
};

struct ReplayReport {
  Position tokens = 0;                               // fed
  std::int64_t greedy = 0;                           // sampled tokens compared: at temperature 0
  std::int64_t drawn = 0;                            // with a seed
  std::int64_t unexplained = 0;                      // sampled, but without parameters in the log
  std::optional<ReplayDifference> first_difference;  // where the replay ended
};

// Stops at the first difference: whatever follows it was made from other tokens. `progress` may be null; false from it
// cancels (kCancelled). Errors: tokens outside the vocabulary, memory.
Result<ReplayReport> replay(const SessionLog& log, BranchId branch, const Engine& engine,
                            const std::function<bool(Position done, Position total)>& progress = {});

}  // namespace hadal
