// What a sandbox call may be refused with: the code a client branches on, and whose fault it is, so that a trainer can
// drop what the platform caused instead of scoring it. A command that exits non-zero is a result, not a fault.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::sandbox {

enum class Fault {
  kInvalidRequest,
  kUnsupported,
  kNotFound,
  kGone,
  kStaleEpoch,      // another client attached to the trajectory
  kReplayMismatch,  // the call differs from the recorded one at its place
  kSequenceGap,
  kConflict,
  kHistoryLost,     // the client has seen more than the log holds
  kOutcomeUnknown,  // started, and its end cannot be known
  kCapacity,
  kAgentLost,
  kSubstrateFailed,
  kLogFull,
  kStoreUnavailable,
};

enum class Retry { kNo, kYes, kCallerDecides };

struct FaultRow {
  std::string_view code;
  int http = 500;
  Retry retry = Retry::kNo;
  std::string_view blame;  // user, task, platform, capacity
};
const FaultRow& fault_row(Fault fault);
Fault fault_of(ErrorCode code);

struct Refusal {
  Fault fault = Fault::kSubstrateFailed;
  std::string message;         // what happened, to which object, what to do next
  std::string details = "{}";  // a JSON object
};

}  // namespace hadal::sandbox
