#include "sandbox/replay/replay.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "sandbox/digest.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;  // sorted keys: the log's bodies

constexpr std::size_t kInline = 4 << 10;  // a bigger result goes to a blob

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string agent_name(const std::string& trajectory, std::uint64_t seq, std::uint64_t attempt) {
  return fmt::format("{}#{}.{}", trajectory, seq, attempt);
}

template <class T>
T field(const Json& body, const char* name, T otherwise) {
  const auto it = body.find(name);
  if (it == body.end()) return otherwise;
  if constexpr (std::is_same_v<T, std::string>) {
    return it->is_string() ? it->template get<std::string>() : otherwise;
  } else if constexpr (std::is_same_v<T, bool>) {
    return it->is_boolean() ? it->template get<bool>() : otherwise;
  } else {
    return it->is_number_unsigned() ? it->template get<T>() : otherwise;
  }
}

// What a record changes. The log has checked the order of records; a strange body changes nothing.
void take(TrajectoryState& s, const Record& record) {
  const Json body = Json::parse(record.body, nullptr, false);
  if (!body.is_object()) return;
  const auto seq = field<std::uint64_t>(body, "seq", 0);
  switch (record.type) {
    case RecordType::kOpen:
      s.sandbox = field<std::string>(body, "sandbox", "");
      break;
    case RecordType::kEpoch:
      s.epoch = field<std::uint64_t>(body, "epoch", s.epoch);
      break;
    case RecordType::kIntent: {
      LoggedOperation o;
      o.op = field<std::string>(body, "op", "");
      o.digest = field<std::string>(body, "digest", "");
      o.request = body.contains("request") ? text_of(body["request"]) : "";
      o.boot = field<std::string>(body, "boot", "");
      o.attempt = field<std::uint64_t>(body, "attempt", 1);
      o.idempotent = field<bool>(body, "idempotent", false);
      s.by_op[o.op] = seq;
      s.operations[seq] = std::move(o);
      break;
    }
    case RecordType::kDone:
    case RecordType::kLost: {
      const auto it = s.operations.find(seq);
      if (it == s.operations.end()) break;
      it->second.state = record.type == RecordType::kDone ? OperationState::kDone : OperationState::kLost;
      it->second.result = field<std::string>(body, "result", "");
      it->second.blob = field<std::string>(body, "blob", "");
      it->second.result_digest = field<std::string>(body, "digest", "");
      it->second.why = field<std::string>(body, "why", "");
      break;
    }
    case RecordType::kClose:
      s.closed = true;
      break;
    default:
      break;
  }
}

Refusal refusal_of(const Error& error) { return {fault_of(error.code), error.what}; }

// The log refused a record, or could not make it durable.
Refusal log_refusal(const Error& error) {
  if (error.code == ErrorCode::kBusy) return {Fault::kLogFull, error.what};
  if (error.code == ErrorCode::kUsage) return {Fault::kInvalidRequest, error.what};
  return {Fault::kStoreUnavailable, error.what};
}

}  // namespace

std::string_view source_name(Source source) {
  return source == Source::kLive ? "live" : source == Source::kLog ? "log" : "attached";
}

struct Replay::Trajectory {
  explicit Trajectory(std::string n) : name(std::move(n)) {}
  const std::string name;
  std::mutex mutex;
  TrajectoryState state;
  struct Waiting {
    std::shared_ptr<ReplayWaiter> waiter;
    Source source = Source::kLive;
  };
  std::map<std::uint64_t, std::vector<Waiting>> waiting;
};

struct Replay::Event {
  enum class Kind { kStarted, kEnded, kFailed } kind = Kind::kStarted;
  std::shared_ptr<Trajectory> trajectory;
  std::uint64_t seq = 0, attempt = 0;
  std::int64_t pid = 0;
  std::string text;  // the result, or why it failed
  // What commit() found.
  std::string result_digest, blob;
  Status recorded;
  bool counted = false;
};

// The sink of a run that is logged. What it hears is committed by the thread that owns that.
class Replay::Watch final : public RunSink {
 public:
  Watch(std::weak_ptr<Replay> replay, std::shared_ptr<Trajectory> t, std::uint64_t seq, std::uint64_t attempt,
        std::shared_ptr<ReplayWaiter> first)
      : replay_(std::move(replay)), trajectory_(std::move(t)), seq_(seq), attempt_(attempt), first_(std::move(first)) {}
  void started(std::int64_t pid) override { push(Event::Kind::kStarted, pid, ""); }
  void output(int stream, std::int64_t offset, std::string_view bytes) override {
    if (first_) first_->output(stream, offset, bytes);
  }
  void ended(std::string result) override { push(Event::Kind::kEnded, 0, std::move(result)); }
  void failed(const std::string& why) override { push(Event::Kind::kFailed, 0, why); }

 private:
  void push(Event::Kind kind, std::int64_t pid, std::string text) {
    const auto replay = replay_.lock();
    if (!replay) return;  // the edge goes; the next one settles it
    Event e;
    e.kind = kind;
    e.trajectory = trajectory_;
    e.seq = seq_;
    e.attempt = attempt_;
    e.pid = pid;
    e.text = std::move(text);
    replay->push(std::move(e));
  }

  std::weak_ptr<Replay> replay_;
  std::shared_ptr<Trajectory> trajectory_;
  std::uint64_t seq_, attempt_;
  std::shared_ptr<ReplayWaiter> first_;  // wants output
};

// A client that came later and wants output: what it hears of the run and of the log end it together.
class Replay::Follower final : public RunSink, public ReplayWaiter {
 public:
  explicit Follower(std::shared_ptr<ReplayWaiter> inner) : inner_(std::move(inner)) {}
  void started(std::int64_t) override {}
  void output(int stream, std::int64_t offset, std::string_view bytes) override {
    const std::lock_guard lock(mutex_);
    if (!told_) inner_->output(stream, offset, bytes);
  }
  void ended(std::string) override {
    half([this] { heard_ = true; });
  }
  void failed(const std::string&) override {
    half([this] { heard_ = true; });
  }
  void answered(const ReplayAnswer& answer) override {
    half([&] {
      answer_ = answer;
      logged_ = true;
    });
  }
  void refused(const Refusal& refusal) override {
    half([&] {
      refusal_ = refusal;
      logged_ = heard_ = true;
    });
  }

 private:
  template <class Change>
  void half(Change change) {
    const std::lock_guard lock(mutex_);
    change();
    if (!heard_ || !logged_ || told_) return;
    told_ = true;
    if (refusal_)
      inner_->refused(*refusal_);
    else
      inner_->answered(answer_);
  }

  std::mutex mutex_;
  std::shared_ptr<ReplayWaiter> inner_;
  bool heard_ = false, logged_ = false, told_ = false;
  ReplayAnswer answer_;
  std::optional<Refusal> refusal_;
};

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
    for (const Record& r : *records) take(t->state, r);
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

Status Replay::settle() {
  std::vector<std::shared_ptr<Trajectory>> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, t] : trajectories_) all.push_back(t);
  }
  std::uint64_t last = 0;
  for (const auto& t : all) {
    const std::lock_guard lock(t->mutex);
    for (auto& [seq, o] : t->state.operations) {
      if (o.state != OperationState::kRunning) continue;
      const auto boot = executor_.boot(t->state.sandbox);
      if (boot && *boot == o.boot) {
        start(*t, seq);
        continue;
      }
      o.why = boot ? "its sandbox was started anew" : boot.error().what;
      last = HADAL_TRY(log_.append(t->name, RecordType::kLost,
                                   text_of({{"seq", seq}, {"why", o.why}, {"time_ms", now_ms()}})))
                 .lsn;
      o.state = OperationState::kLost;
    }
  }
  if (last == 0) return {};
  return log_.sync(last);
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
                                      text_of({{"sandbox", request.sandbox}, {"spec", spec}, {"time_ms", now_ms()}}));
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
                                    text_of({{"epoch", epoch}, {"caller", request.caller}, {"time_ms", now_ms()}}));
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
  if (judged.verdict == Verdict::kAttach) {
    const std::string name = agent_name(t.name, judged.seq, t.state.operations.at(judged.seq).attempt);
    if (!waiter->wants_output()) {
      t.waiting[judged.seq].push_back({std::move(waiter), Source::kAttached});
      return;
    }
    const auto follower = std::make_shared<Follower>(std::move(waiter));
    t.waiting[judged.seq].push_back({follower, Source::kAttached});
    const std::string sandbox = t.state.sandbox;
    lock.unlock();
    return executor_.follow(sandbox, name, follower);
  }
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
  std::string text = text_of(body);
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

// t.mutex is held.
void Replay::start(Trajectory& t, std::uint64_t seq) {
  const LoggedOperation& o = t.state.operations.at(seq);
  std::shared_ptr<Trajectory> shared;
  {
    const std::lock_guard lock(mutex_);
    shared = trajectories_.at(t.name);
  }
  std::shared_ptr<ReplayWaiter> first;
  if (const auto w = t.waiting.find(seq);
      w != t.waiting.end() && !w->second.empty() && w->second[0].waiter->wants_output())
    first = w->second[0].waiter;
  const bool follow = first != nullptr;
  const auto watch = std::make_shared<Watch>(weak_from_this(), shared, seq, o.attempt, std::move(first));
  const Status begun = executor_.start(t.state.sandbox, agent_name(t.name, seq, o.attempt), o.request, follow, watch);
  if (!begun) watch->failed(fmt::format("it was not started: {}", begun.error().what));
}

// t.mutex is held. The lsn of what ends the operation; 0: nothing to wait for.
Result<std::uint64_t> Replay::record_end(Trajectory& t, Event& e) {
  const auto it = t.state.operations.find(e.seq);
  if (it == t.state.operations.end() || it->second.state != OperationState::kRunning || it->second.attempt != e.attempt)
    return 0;
  if (e.kind == Event::Kind::kStarted) {
    HADAL_CHECK_OK(log_.append(t.name, RecordType::kStarted,
                               text_of({{"seq", e.seq}, {"boot", it->second.boot}, {"pid", e.pid}})));
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
  return HADAL_TRY(log_.append(t.name, type, text_of(body))).lsn;
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
        last = HADAL_TRY(log_.append(t->name, RecordType::kLost, text_of({{"seq", seq}, {"why", o.why}}))).lsn;
        o.state = OperationState::kLost;
        for (auto& w : t->waiting[seq])
          refused.emplace_back(
              std::move(w.waiter),
              Refusal{Fault::kOutcomeUnknown, fmt::format("trajectory {}, call {}: {}", t->name, seq, o.why)});
        t->waiting.erase(seq);
      }
    last = HADAL_TRY(log_.append(t->name, RecordType::kClose, text_of({{"time_ms", now_ms()}}))).lsn;
    t->state.closed = true;
  }
  const Status durable = last > 0 ? log_.sync(last) : Status();
  for (const auto& [waiter, refusal] : refused) waiter->refused(refusal);
  return durable;
}

}  // namespace hadal::sandbox
