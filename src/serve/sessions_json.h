// The documents of the native API, as text: docs/sessions-api.md.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "serve/meter.h"
#include "serve/transcript.h"
#include "sessions/job.h"
#include "sessions/scheduler.h"
#include "sessions/session_store.h"

namespace hadal::serve {

std::string session_document(const SessionSummary& s, std::int64_t live_branch, const std::string& title, bool busy);
std::string messages_document(const std::string& session, BranchId branch, const Transcript& transcript);
std::string branches_document(const SessionLog& log);
std::string diff_document(const SessionLog& log, BranchId a, BranchId b, const BranchDiff& diff,
                          const Tokenizer& tokenizer);
// `cached`: empty where it is not known.
nlohmann::ordered_json meter_object(const CacheMeter& meter, Position tokens, std::optional<Position> cached,
                                    std::int64_t context, const SchedulerStats& stats);
std::string meter_document(const CacheMeter& meter, Position tokens, std::optional<Position> cached,
                           std::int64_t context, const SchedulerStats& stats);
nlohmann::ordered_json message_object(const TranscriptTurn& turn);
nlohmann::ordered_json usage_object(const JobUsage& usage);

}  // namespace hadal::serve
