// What one trajectory's log says to a call: the table of the documentation, as a function of plain values.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "sandbox/faults.h"

namespace hadal::sandbox {

// One call of a client. In ordered mode `seq` is its place; in keyed mode (`seq` 0) it is found by `op`.
struct ReplayCall {
  std::string trajectory;
  std::string sandbox;  // that the client believes it to be of; empty: whatever it is
  std::uint64_t epoch = 0;
  std::uint64_t seq = 0;
  std::string op;       // empty in ordered mode: named after its place
  std::string request;  // JSON with sorted keys, without what only transport needs
  bool idempotent = false;
};

enum class OperationState { kRunning, kDone, kLost };

struct LoggedOperation {
  std::string op, digest, request;
  std::string boot;           // of the agent that was told
  std::uint64_t attempt = 1;  // of an idempotent one that was lost
  bool idempotent = false;
  OperationState state = OperationState::kRunning;
  std::string result, blob;  // the result's JSON, or the digest of the blob that holds it
  std::string result_digest;
  std::string why;  // of kLost
};

struct TrajectoryState {
  std::string sandbox;
  std::uint64_t epoch = 0;
  std::map<std::uint64_t, LoggedOperation> operations;  // by seq, from 1 without gaps
  std::map<std::string, std::uint64_t, std::less<>> by_op;
  bool closed = false;

  std::uint64_t next() const { return operations.empty() ? 1 : operations.rbegin()->first + 1; }
};

enum class Verdict {
  kStart,    // nothing is logged: INTENT, start
  kAgain,    // idempotent and lost: INTENT with the next attempt, start
  kFromLog,  // done: nothing runs
  kAttach,   // running: wait for its end
  kRefuse,
};

struct Judgement {
  Verdict verdict = Verdict::kRefuse;
  std::uint64_t seq = 0;
  Refusal refusal;
};

// `digest` is of call.request.
Judgement judge(const TrajectoryState& state, const ReplayCall& call, const std::string& digest);

}  // namespace hadal::sandbox
