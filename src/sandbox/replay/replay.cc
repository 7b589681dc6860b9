#include "sandbox/replay/replay.h"

#include <nlohmann/json.hpp>

#include "sandbox/digest.h"
#include "sandbox/replay/parts.h"
#include "sandbox/replay/read_state.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;  // sorted keys: the log's bodies

Refusal refusal_of(const Error& error) { return {fault_of(error.code), error.what}; }

}  // namespace

std::string_view source_name(Source source) {
  return source == Source::kLive ? "live" : source == Source::kLog ? "log" : "attached";
}

Replay::Replay(TrajectoryLog& log, Blobs blobs, Executor& executor)
    : log_(log), blobs_(std::move(blobs)), executor_(executor) {}

Result<std::shared_ptr<Replay>> Replay::open(TrajectoryLog& log, Blobs blobs, Executor& executor) {
  std::shared_ptr<Replay> replay(new Replay(log, std::move(blobs), executor));
  for (const std::string& name : log.trajectories()) {
    const auto records = log.read(name);
    if (!records) {
      replay->damaged_[name] = records.error().what;
      continue;
    }
    auto t = std::make_shared<Trajectory>(name);
    for (const Record& r : *records) take_record(t->state, r);
    replay->trajectories_[name] = std::move(t);
  }
  return replay;
}

Replay::~Replay() {
  {
    const std::lock_guard lock(queue_mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Replay::run() {
  thread_ = std::thread([this] {
    for (;;) {
      {
        std::unique_lock lock(queue_mutex_);
        wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
      }
      commit();
    }
  });
}

void Replay::push(Event event) {
  const std::lock_guard lock(queue_mutex_);
  queue_.push_back(std::move(event));
  wake_.notify_all();
}

std::expected<std::shared_ptr<Replay::Trajectory>, Refusal> Replay::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  if (const auto t = trajectories_.find(name); t != trajectories_.end()) return t->second;
  if (const auto bad = damaged_.find(name); bad != damaged_.end())
    return std::unexpected(Refusal{Fault::kStoreUnavailable, bad->second});
  return std::unexpected(Refusal{
      Fault::kNotFound, fmt::format("there is no trajectory {:.128}; attach to it with a sandbox first", name)});
}

std::expected<Attachment, Refusal> Replay::attach(const AttachRequest& request) {
  const std::string& name = request.trajectory;
  if (name.empty() || name.size() > kMostTrajectoryName)
    return std::unexpected(
        Refusal{Fault::kInvalidRequest, fmt::format("a trajectory's name has 1 to {} bytes", kMostTrajectoryName)});
  auto found = find(name);
  if (!found && (found.error().fault != Fault::kNotFound || request.sandbox.empty()))
    return std::unexpected(found.error());
  std::shared_ptr<Trajectory> t;
  std::unique_lock<std::mutex> lock;
  if (!found) {
    const std::lock_guard table(mutex_);
    auto& place = trajectories_[name];
    if (!place) {
      Json spec = Json::parse(request.spec, nullptr, false);
      if (!spec.is_object()) spec = Json::object();
      const auto opened = log_.append(name, RecordType::kOpen,
                                      body_text({{"sandbox", request.sandbox}, {"spec", spec}, {"time_ms", now_ms()}}));
      if (!opened) {
        trajectories_.erase(name);
        return std::unexpected(log_refusal(opened.error()));
      }
      place = std::make_shared<Trajectory>(name);
      place->state.sandbox = request.sandbox;
    }
    t = place;
  } else {
    t = *found;
  }
  lock = std::unique_lock(t->mutex);
  TrajectoryState& s = t->state;
  if (!request.sandbox.empty() && s.sandbox != request.sandbox)
    return std::unexpected(Refusal{
        Fault::kConflict, fmt::format("trajectory {} is of sandbox {}, not {}", name, s.sandbox, request.sandbox)});
  if (request.last_seq > 0) {
    const auto seen = s.operations.find(request.last_seq);
    if (seen == s.operations.end() || seen->second.state != OperationState::kDone ||
        (!request.last_digest.empty() && seen->second.result_digest != request.last_digest))
      return std::unexpected(
          Refusal{Fault::kHistoryLost,
                  fmt::format("trajectory {}: call {} that you have seen is not in the log, which ends at {}", name,
                              request.last_seq, s.next() - 1),
                  fmt::format(R"({{"seen_seq":{},"last_seq":{}}})", request.last_seq, s.next() - 1)});
  }
  // Nothing can run on a closed one, so nobody has to be fenced off.
  if (s.closed) return Attachment{s.epoch, s.next(), s.sandbox};
  const std::uint64_t epoch = s.epoch + 1;
  const auto appended = log_.append(name, RecordType::kEpoch,
                                    body_text({{"epoch", epoch}, {"caller", request.caller}, {"time_ms", now_ms()}}));
  if (!appended) return std::unexpected(log_refusal(appended.error()));
  s.epoch = epoch;
  if (const Status durable = log_.sync(appended->lsn); !durable) return std::unexpected(log_refusal(durable.error()));
  return Attachment{epoch, s.next(), s.sandbox};
}

void Replay::submit(const ReplayCall& call, std::shared_ptr<ReplayWaiter> waiter) {
  const auto found = find(call.trajectory);
  if (!found) return waiter->refused(found.error());
  Trajectory& t = **found;
  const std::string digest = sha256_hex(call.request);
  std::unique_lock lock(t.mutex);
  const Judgement judged = judge(t.state, call, digest);
  if (judged.verdict == Verdict::kRefuse) {
    lock.unlock();
    return waiter->refused(judged.refusal);
  }
  if (judged.verdict == Verdict::kFromLog) {
    const LoggedOperation o = t.state.operations.at(judged.seq);
    lock.unlock();
    ReplayAnswer answer{Source::kLog, judged.seq, o.op, o.result_digest, o.result};
    if (!o.blob.empty()) {
      auto result = blobs_.get(o.blob);
      if (!result) return waiter->refused({Fault::kStoreUnavailable, result.error().what});
      answer.result = std::move(*result);
    }
    return waiter->answered(answer);
  }
  if (judged.verdict == Verdict::kAttach) return join(t, std::move(lock), judged.seq, std::move(waiter));
  const auto refused = begin(t, call, judged, digest, waiter);
  lock.unlock();
  if (refused) waiter->refused(*refused);
}

std::optional<Refusal> Replay::begin(Trajectory& t, const ReplayCall& call, const Judgement& judged,
                                     const std::string& digest, const std::shared_ptr<ReplayWaiter>& waiter) {
  const auto boot = executor_.boot(t.state.sandbox);
  if (!boot) return refusal_of(boot.error());
  LoggedOperation o;
  o.op = call.op.empty() ? fmt::format("seq-{}", judged.seq) : call.op;
  // An ordered call without a name takes one nobody chose by accident, or by intent.
  if (judged.verdict == Verdict::kStart && t.state.by_op.contains(o.op))
    return Refusal{Fault::kConflict, fmt::format("trajectory {}: the name {} is taken", t.name, o.op)};
  o.digest = digest;
  o.request = call.request;
  o.boot = *boot;
  o.idempotent = call.idempotent;
  Json request = Json::parse(call.request, nullptr, false);
  if (request.is_discarded()) return Refusal{Fault::kInvalidRequest, "the request is not JSON"};
  if (judged.verdict == Verdict::kAgain) {
    const LoggedOperation& before = t.state.operations.at(judged.seq);
    o.op = before.op;
    o.attempt = before.attempt + 1;
    o.idempotent = true;
  }
  const Json body = {
      {"seq", judged.seq},  {"op", o.op},           {"digest", digest},    {"request", std::move(request)},
      {"boot", o.boot},     {"attempt", o.attempt}, {"epoch", call.epoch}, {"idempotent", o.idempotent},
      {"time_ms", now_ms()}};
  std::string text = body_text(body);
  if (text.size() > kMostRecordBody)
    return Refusal{Fault::kInvalidRequest, fmt::format("a call has at most {} MiB", kMostRecordBody >> 20)};
  const auto appended = log_.append(t.name, RecordType::kIntent, std::move(text));
  if (!appended) return log_refusal(appended.error());
  t.state.by_op[o.op] = judged.seq;
  t.state.operations[judged.seq] = std::move(o);
  if (const Status durable = log_.sync(appended->lsn); !durable) return log_refusal(durable.error());
  t.waiting[judged.seq].push_back({waiter, Source::kLive});
  start(t, judged.seq);
  return std::nullopt;
}

}  // namespace hadal::sandbox
