// Runs: how they are started, who listens, and what the edge finds of them after a crash.
#include "sandbox/replay/parts.h"

namespace hadal::sandbox {

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
                                   body_text({{"seq", seq}, {"why", o.why}, {"time_ms", now_ms()}})))
                 .lsn;
      o.state = OperationState::kLost;
    }
  }
  if (last == 0) return {};
  return log_.sync(last);
}

// A call that runs already: this client waits for its end too.
void Replay::join(Trajectory& t, std::unique_lock<std::mutex> lock, std::uint64_t seq,
                  std::shared_ptr<ReplayWaiter> waiter) {
  if (!waiter->wants_output()) {
    t.waiting[seq].push_back({std::move(waiter), Source::kAttached});
    return;
  }
  const std::string name = agent_name(t.name, seq, t.state.operations.at(seq).attempt);
  const auto follower = std::make_shared<Follower>(std::move(waiter));
  t.waiting[seq].push_back({follower, Source::kAttached});
  const std::string sandbox = t.state.sandbox;
  lock.unlock();
  executor_.follow(sandbox, name, follower);
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

}  // namespace hadal::sandbox
