// Ends: durable first, answered then.
#include "sandbox/digest.h"
#include "sandbox/replay/parts.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kInline = 4 << 10;  // a bigger result goes to a blob

}  // namespace

// t.mutex is held. The lsn of what ends the operation; 0: nothing to wait for.
Result<std::uint64_t> Replay::record_end(Trajectory& t, Event& e) {
  const auto it = t.state.operations.find(e.seq);
  if (it == t.state.operations.end() || it->second.state != OperationState::kRunning || it->second.attempt != e.attempt)
    return 0;
  if (e.kind == Event::Kind::kStarted) {
    HADAL_CHECK_OK(log_.append(t.name, RecordType::kStarted,
                               body_text({{"seq", e.seq}, {"boot", it->second.boot}, {"pid", e.pid}})));
    return 0;
  }
  Json body = {{"seq", e.seq}, {"time_ms", now_ms()}};
  if (e.kind == Event::Kind::kFailed) {
    body["why"] = e.text;
  } else {
    e.result_digest = sha256_hex(e.text);
    body["digest"] = e.result_digest;
    if (e.text.size() > kInline)
      body["blob"] = e.blob = HADAL_TRY(blobs_.put(e.text));
    else
      body["result"] = e.text;
  }
  e.counted = true;
  const auto type = e.kind == Event::Kind::kFailed ? RecordType::kLost : RecordType::kDone;
  return HADAL_TRY(log_.append(t.name, type, body_text(body))).lsn;
}

std::size_t Replay::commit() {
  std::vector<Event> events;
  {
    const std::lock_guard lock(queue_mutex_);
    events.swap(queue_);
  }
  std::uint64_t last = 0;
  for (Event& e : events) {
    const std::lock_guard lock(e.trajectory->mutex);
    const auto lsn = record_end(*e.trajectory, e);
    if (!lsn)
      e.recorded = std::unexpected(lsn.error());
    else
      last = std::max(last, *lsn);
  }
  const Status durable = last > 0 ? log_.sync(last) : Status();
  std::size_t ended = 0;
  for (Event& e : events) {
    if (e.kind == Event::Kind::kStarted || (!e.counted && e.recorded)) continue;
    ++ended;
    Trajectory& t = *e.trajectory;
    std::vector<Trajectory::Waiting> waiting;
    std::optional<Refusal> refusal;
    std::string name, op;
    {
      const std::lock_guard lock(t.mutex);
      waiting.swap(t.waiting[e.seq]);
      t.waiting.erase(e.seq);
      LoggedOperation& o = t.state.operations.at(e.seq);
      op = o.op;
      if (!e.recorded || !durable) {
        // It ended and that is not durable: the agent keeps the result for the next edge.
        refusal = log_refusal(e.recorded ? durable.error() : e.recorded.error());
      } else if (e.kind == Event::Kind::kFailed) {
        o.state = OperationState::kLost;
        o.why = e.text;
        refusal = Refusal{Fault::kOutcomeUnknown,
                          fmt::format("trajectory {}, call {}: operation {} was begun and its end is not known: {}",
                                      t.name, e.seq, o.op, o.why),
                          fmt::format(R"({{"seq":{}}})", e.seq)};
      } else {
        o.state = OperationState::kDone;
        o.result_digest = e.result_digest;
        o.blob = e.blob;
        if (o.blob.empty()) o.result = e.text;
        name = agent_name(t.name, e.seq, e.attempt);
      }
    }
    for (const auto& w : waiting) {
      if (refusal)
        w.waiter->refused(*refusal);
      else
        w.waiter->answered({w.source, e.seq, op, e.result_digest, e.text});
    }
    if (!name.empty()) executor_.forget(t.state.sandbox, name);
  }
  return ended;
}

Status Replay::close(const std::string& sandbox) {
  std::vector<std::shared_ptr<Trajectory>> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, t] : trajectories_)
      if (t->state.sandbox == sandbox) all.push_back(t);
  }
  std::uint64_t last = 0;
  std::vector<std::pair<std::shared_ptr<ReplayWaiter>, Refusal>> refused;
  for (const auto& t : all) {
    const std::lock_guard lock(t->mutex);
    if (t->state.closed) continue;
    // What still runs dies with its sandbox, and is said to be lost before the end.
    for (auto& [seq, o] : t->state.operations)
      if (o.state == OperationState::kRunning) {
        o.why = "its sandbox was closed";
        last = HADAL_TRY(log_.append(t->name, RecordType::kLost, body_text({{"seq", seq}, {"why", o.why}}))).lsn;
        o.state = OperationState::kLost;
        for (auto& w : t->waiting[seq])
          refused.emplace_back(
              std::move(w.waiter),
              Refusal{Fault::kOutcomeUnknown, fmt::format("trajectory {}, call {}: {}", t->name, seq, o.why)});
        t->waiting.erase(seq);
      }
    last = HADAL_TRY(log_.append(t->name, RecordType::kClose, body_text({{"time_ms", now_ms()}}))).lsn;
    t->state.closed = true;
  }
  const Status durable = last > 0 ? log_.sync(last) : Status();
  for (const auto& [waiter, refusal] : refused) waiter->refused(refusal);
  return durable;
}

}  // namespace hadal::sandbox
