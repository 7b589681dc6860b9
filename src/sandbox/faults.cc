#include "sandbox/faults.h"

namespace hadal::sandbox {

const FaultRow& fault_row(Fault fault) {
  static constexpr FaultRow kRows[] = {
      {"invalid_request", 400, Retry::kNo, "user"},
      {"unsupported", 400, Retry::kNo, "user"},
      {"not_found", 404, Retry::kNo, "user"},
      {"gone", 410, Retry::kNo, "user"},
      {"stale_epoch", 409, Retry::kNo, "user"},
      {"replay_mismatch", 409, Retry::kNo, "user"},
      {"sequence_gap", 409, Retry::kNo, "user"},
      {"conflict", 409, Retry::kNo, "user"},
      {"history_lost", 409, Retry::kCallerDecides, "platform"},
      {"outcome_unknown", 409, Retry::kCallerDecides, "platform"},
      {"capacity", 503, Retry::kYes, "capacity"},
      {"agent_lost", 503, Retry::kYes, "platform"},
      {"substrate_failed", 503, Retry::kYes, "platform"},
      {"log_full", 503, Retry::kYes, "platform"},
      {"store_unavailable", 503, Retry::kYes, "platform"},
  };
  static_assert(std::size(kRows) == static_cast<std::size_t>(Fault::kStoreUnavailable) + 1);
  return kRows[static_cast<std::size_t>(fault)];
}

Fault fault_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return Fault::kInvalidRequest;
    case ErrorCode::kUnsupported:
      return Fault::kUnsupported;
    case ErrorCode::kNotFound:
      return Fault::kNotFound;
    case ErrorCode::kCancelled:
      return Fault::kGone;
    case ErrorCode::kBusy:
      return Fault::kCapacity;
    case ErrorCode::kBadInput:
      return Fault::kAgentLost;
    default:
      return Fault::kSubstrateFailed;
  }
}

}  // namespace hadal::sandbox
