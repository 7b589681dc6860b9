// A session's log as a person or a script reads it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "sessions/session_log.h"
#include "tokens/tokenizer.h"

namespace hadal::cli {

// Text from a file for a terminal: control characters other than newline and tab become '?'.
std::string printable(std::string_view text);

// Never fails: ids that the tokenizer lacks come as <id>.
std::string text_of(const Tokenizer& tokenizer, const std::vector<TokenId>& ids);
nlohmann::ordered_json ids_json(const std::vector<TokenId>& ids);

// One branch, stretch by stretch of one origin, then its calls and jobs. Without a tokenizer ids are printed. Stretches
// of more than 160 tokens are folded unless `full`.
Result<std::string> session_text(const SessionLog& log, BranchId branch, const Tokenizer* tokenizer, bool full);

// The same, complete.
Result<nlohmann::ordered_json> session_json(const SessionLog& log, BranchId branch, const Tokenizer* tokenizer);

}  // namespace hadal::cli
