// Every effect once: calls of a trajectory are answered from its log, attached to what runs, or run and logged.
//
// An INTENT is durable before the agent is told, a DONE before anyone is answered. After a crash of the edge, settle()
// finds what the agents still know. Results of at most 4 KiB stay in memory, bigger ones are read from their blobs.
#pragma once

#include <condition_variable>
#include <expected>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "sandbox/log/blobs.h"
#include "sandbox/log/trajectory_log.h"
#include "sandbox/replay/judge.h"

namespace hadal::sandbox {

// Where a run's events go: exactly one end. Must not be blocked.
class RunSink {
 public:
  virtual ~RunSink() = default;
  virtual void started(std::int64_t pid) = 0;
  virtual void output(int stream, std::int64_t offset, std::string_view bytes) = 0;
  virtual void ended(std::string result) = 0;       // JSON
  virtual void failed(const std::string& why) = 0;  // the agent is gone
};

// What calls run on. `name` is the operation's for its agent.
class Executor {
 public:
  virtual ~Executor() = default;
  // Boot id of the sandbox's agent, if that is alive.
  virtual Result<std::string> boot(const std::string& sandbox) = 0;
  // Starts the operation unless the agent knows it; then attaches to it. `follow`: output as it comes.
  virtual Status start(const std::string& sandbox, const std::string& name, const std::string& request, bool follow,
                       std::shared_ptr<RunSink> sink) = 0;
  // Output from the beginning and the end, of an operation that the agent knows.
  virtual void follow(const std::string& sandbox, const std::string& name, std::shared_ptr<RunSink> sink) = 0;
  virtual void forget(const std::string& sandbox, const std::string& name) = 0;
};

enum class Source { kLive, kLog, kAttached };
std::string_view source_name(Source source);

struct ReplayAnswer {
  Source source = Source::kLive;
  std::uint64_t seq = 0;
  std::string op;
  std::string digest;  // of `result`
  std::string result;  // JSON, the same bytes every time
};

// Who waits for a call: answered() or refused(), once. Output only for those that want it, and never after the end.
class ReplayWaiter {
 public:
  virtual ~ReplayWaiter() = default;
  virtual bool wants_output() const { return false; }
  virtual void output(int, std::int64_t, std::string_view) {}
  virtual void answered(const ReplayAnswer& answer) = 0;
  virtual void refused(const Refusal& refusal) = 0;
};

struct AttachRequest {
  std::string trajectory, sandbox;  // sandbox: of a new one
  std::string spec = "{}";          // JSON, of a new one
  std::string caller;
  std::uint64_t last_seq = 0;  // what this client has seen, if it remembers
  std::string last_digest;     // of that result
};

struct Attachment {
  std::uint64_t epoch = 0, next_seq = 1;
  std::string sandbox;
};

class Replay : public std::enable_shared_from_this<Replay> {
 public:
  // Reads what the log has. All three outlive it. A damaged trajectory is left out; calls for it say so.
  static Result<std::shared_ptr<Replay>> open(TrajectoryLog& log, Blobs blobs, Executor& executor);
  ~Replay();

  // Brings every open INTENT to its end or to its agent. Once, before calls.
  Status settle();
  // Makes a thread that commits; without it the caller does.
  void run();

  std::expected<Attachment, Refusal> attach(const AttachRequest& request);
  void submit(const ReplayCall& call, std::shared_ptr<ReplayWaiter> waiter);
  // Of the sandbox that closed: nothing follows.
  Status close(const std::string& sandbox);
  // Makes durable what has ended since the last time, with one sync, and answers those who wait. How many ended.
  std::size_t commit();

  std::vector<std::string> names() const { return log_.trajectories(); }
  Result<std::vector<Record>> records(const std::string& name) const { return log_.read(name); }
  const Blobs& blobs() const { return blobs_; }

 private:
  struct Trajectory;
  struct Event;
  class Watch;
  class Follower;
  Replay(TrajectoryLog& log, Blobs blobs, Executor& executor);
  std::expected<std::shared_ptr<Trajectory>, Refusal> find(const std::string& name) const;
  std::optional<Refusal> begin(Trajectory& t, const ReplayCall& call, const Judgement& judged,
                               const std::string& digest, const std::shared_ptr<ReplayWaiter>& waiter);
  void join(Trajectory& t, std::unique_lock<std::mutex> lock, std::uint64_t seq, std::shared_ptr<ReplayWaiter> waiter);
  void start(Trajectory& t, std::uint64_t seq);
  Result<std::uint64_t> record_end(Trajectory& t, Event& event);
  void push(Event event);

  TrajectoryLog& log_;
  Blobs blobs_;
  Executor& executor_;
  mutable std::mutex mutex_;  // of the table
  std::map<std::string, std::shared_ptr<Trajectory>, std::less<>> trajectories_;
  std::map<std::string, std::string, std::less<>> damaged_;  // name -> a sentence

  std::mutex queue_mutex_;
  std::condition_variable wake_;
  std::vector<Event> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace hadal::sandbox
