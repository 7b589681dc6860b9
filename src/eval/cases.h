// Exact-answer evaluation: prompts with the one right continuation, answered greedily token by token.
//
// A case file has one JSON object per line: {"id": "...", "kind": "...", "prompt": "...", "expected": "..."}. Both
// texts are in the model's own spelling, special tokens included; `expected` ends with the end-of-sentence token when
// the whole turn is meant.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "sessions/engine.h"

namespace hadal {

struct EvalCase {
  std::string id, kind, prompt, expected;
};

// Reads a case file; errors name the line.
Result<std::vector<EvalCase>> read_cases(const std::string& path);

struct EvalOutcome {
  bool exact = false;
  std::string answer;  // what was generated, special tokens included
  std::int64_t prompt_tokens = 0;
};

// Greedy, free-running: nothing of `expected` is shown to the model. Stops early at the first token that differs when
// `stop_at_difference`.
Result<EvalOutcome> run_case(const Engine& engine, const EvalCase& c, bool stop_at_difference);

}  // namespace hadal
