#include "sandbox/replay/judge.h"

namespace hadal::sandbox {
namespace {

Judgement refuse(Fault fault, std::uint64_t seq, std::string message, std::string details = "{}") {
  return {Verdict::kRefuse, seq, {fault, std::move(message), std::move(details)}};
}

Judgement judge_known(const std::string& name, std::uint64_t seq, const LoggedOperation& known, const ReplayCall& call,
                      const std::string& digest) {
  if (known.digest != digest || (!call.op.empty() && call.op != known.op))
    return refuse(Fault::kReplayMismatch, seq,
                  fmt::format("trajectory {}, call {}: what is asked differs from what was recorded there as operation "
                              "{}; nothing was run",
                              name, seq, known.op),
                  fmt::format(R"({{"seq":{},"recorded_digest":"{}","digest":"{}"}})", seq, known.digest, digest));
  switch (known.state) {
    case OperationState::kDone:
      return {Verdict::kFromLog, seq, {}};
    case OperationState::kRunning:
      return {Verdict::kAttach, seq, {}};
    case OperationState::kLost:
      break;
  }
  if (known.idempotent) return {Verdict::kAgain, seq, {}};
  return refuse(Fault::kOutcomeUnknown, seq,
                fmt::format("trajectory {}, call {}: operation {} was begun and its end is not known: {}; it is run "
                            "again only when it was marked idempotent",
                            name, seq, known.op, known.why),
                fmt::format(R"({{"seq":{}}})", seq));
}

}  // namespace

Judgement judge(const TrajectoryState& s, const ReplayCall& call, const std::string& digest) {
  const std::string& name = call.trajectory;
  if (call.epoch < s.epoch)
    return refuse(Fault::kStaleEpoch, call.seq,
                  fmt::format("trajectory {}: epoch {} is over, another client attached as epoch {}; attach again",
                              name, call.epoch, s.epoch),
                  fmt::format(R"({{"epoch":{}}})", s.epoch));
  if (call.epoch > s.epoch)
    return refuse(Fault::kInvalidRequest, call.seq,
                  fmt::format("trajectory {}: epoch {} was never given, the last is {}", name, call.epoch, s.epoch));
  if (!call.sandbox.empty() && call.sandbox != s.sandbox)
    return refuse(Fault::kConflict, call.seq,
                  fmt::format("trajectory {} is of sandbox {}, not {}", name, s.sandbox, call.sandbox));
  const bool keyed = call.seq == 0;
  if (keyed && call.op.empty())
    return refuse(Fault::kInvalidRequest, 0,
                  fmt::format("trajectory {}: a call has 'seq', its place, or 'op', its key", name));
  if (keyed) {
    if (const auto known = s.by_op.find(call.op); known != s.by_op.end())
      return judge_known(name, known->second, s.operations.at(known->second), call, digest);
  } else {
    if (const auto known = s.operations.find(call.seq); known != s.operations.end())
      return judge_known(name, call.seq, known->second, call, digest);
    if (call.seq != s.next())
      return refuse(Fault::kSequenceGap, call.seq,
                    fmt::format("trajectory {}: call {} was sent and the next is {}", name, call.seq, s.next()),
                    fmt::format(R"({{"next_seq":{}}})", s.next()));
    if (!call.op.empty() && s.by_op.contains(call.op))
      return refuse(Fault::kConflict, call.seq,
                    fmt::format("trajectory {}: operation {} is call {} already; each has a name of its own", name,
                                call.op, s.by_op.find(call.op)->second));
    // What runs next must find exactly the effects of those before it.
    if (!s.operations.empty() && s.operations.rbegin()->second.state == OperationState::kRunning)
      return refuse(Fault::kConflict, call.seq,
                    fmt::format("trajectory {}: call {} still runs; wait for it, or name calls that may run side by "
                                "side by 'op' without 'seq'",
                                name, s.next() - 1));
  }
  if (s.closed)
    return refuse(Fault::kGone, call.seq,
                  fmt::format("trajectory {} is closed; its recorded calls can be asked for", name));
  return {Verdict::kStart, s.next(), {}};
}

}  // namespace hadal::sandbox
