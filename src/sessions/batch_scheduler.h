// The scheduler's two sides: callers on any thread (batch_scheduler.cc), and the one thread that runs the model
// (batch_rounds.cc).
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "cache/prefix_store.h"
#include "sessions/answer.h"
#include "sessions/job_log.h"
#include "sessions/job_record.h"
#include "sessions/scheduler.h"

namespace hadal {

// A job that has a place.
struct Run {
  std::shared_ptr<JobRecord> job;
  std::vector<TokenId> context;      // the prompt, and what an earlier process generated
  std::optional<JobLog> log;         // with a data folder
  std::optional<Sequence> sequence;  // from the first step on
  Answer answer;
  std::vector<float> logits;  // [vocab]
  TokenId next{};             // to be fed, once decoding
  bool decoding = false;
  JobUsage usage;
  Stopwatch since;                                // admission, then the first token
  std::vector<std::shared_ptr<JobRecord>> forks;  // not begun: each starts where its prompt parts from this one's

  // Where a fork starts: the tokens its prompt shares with this run's, and not all of its own.
  Position fork_point(const JobRequest& fork) const;

  std::span<const TokenId> prompt_left() const {
    return std::span<const TokenId>(context).subspan(static_cast<std::size_t>(fed()));
  }
  Position fed() const { return sequence ? sequence->length() : 0; }

  Position next_stop(Position most) const;  // where feeding pauses to keep the state: `most` tokens on at the latest
  Position before_last() const;             // all of the context but one token
  bool worth_keeping() const;
};

class BatchScheduler final : public Scheduler {
 public:
  BatchScheduler(Engine engine, const SchedulerOptions& options, std::unique_ptr<PrefixStore> store,
                 std::unique_ptr<JobLogs> logs);
  ~BatchScheduler() override;

  const Engine& engine() const override { return engine_; }
  Result<std::shared_ptr<Job>> submit(JobRequest request) override;
  Result<std::vector<std::shared_ptr<Job>>> submit(JobRequest request, std::vector<JobRequest> forks) override;
  std::shared_ptr<Job> find(std::string_view id) const override;
  double retry_after() const override;
  void drain() override;
  SchedulerStats stats() const override;
  Resumed resumed() const override { return resumed_; }
  void explain(std::vector<TokenId> ids, std::function<void(const PrefixMiss&)> then) override;
  SessionStore* sessions() override { return logs_ ? &logs_->store() : nullptr; }
  bool session_busy(std::string_view session) const override;

 private:
  struct Waiting {
    std::shared_ptr<JobRecord> job;
    Stopwatch since;
    std::vector<JobToken> answered = {};  // by an earlier process
    bool interrupted = false;             // begun by an earlier process
    std::vector<std::shared_ptr<JobRecord>> forks = {};
  };
  struct Question {
    std::vector<TokenId> ids;
    std::function<void(const PrefixMiss&)> then;
  };

  Status check(const JobRequest& request) const;
  Result<std::shared_ptr<Job>> queue(JobRequest request, std::vector<JobToken> answered, bool interrupted);
  Result<std::vector<std::shared_ptr<Job>>> with_forks(std::shared_ptr<Job> job, std::vector<JobRequest> forks);
  // The answer of an earlier process, as a job that is over.
  Result<std::shared_ptr<Job>> ended_before(EndedJob before, const JobRequest& request);
  std::string made_up_id();
  bool taken(std::string_view session) const;
  void resume();
  void run();
  bool collect();  // false: stop
  std::size_t best_waiting() const;
  void admit(Waiting waiting);
  Run* choose_reader() const;
  bool begin(Run& run);
  void keep(const Run& run, bool border);
  void fork_from(Run& run);
  void end_forks(std::vector<std::shared_ptr<JobRecord>>& forks, JobFinish how, const Error& error);
  void step();
  void feed_alone(std::span<const Sequence::Part> parts, std::span<Run* const> runs);
  void advance(Run& run);
  void finish(Run& run, JobFinish how, int stop_index = -1, Error error = {ErrorCode::kInternal, ""});
  void finish_unstarted(const Waiting& waiting, JobFinish how, Error error);
  void forget_oldest();

  const Engine engine_;
  SchedulerOptions options_;
  const std::unique_ptr<JobLogs> logs_;  // null without a data folder
  const std::string process_;            // tells made up ids from those of other processes
  Resumed resumed_;

  mutable std::mutex mutex_;  // everything down to `stats_`
  std::condition_variable wake_, idle_;
  std::deque<Waiting> waiting_;
  std::deque<Question> questions_;
  std::map<std::string, std::shared_ptr<JobRecord>, std::less<>> jobs_;
  std::deque<std::string> finished_;  // ids, oldest first
  // Interrupted by the end of the last process, and not asked for since: by id.
  std::map<std::string, InterruptedJob, std::less<>> interrupted_;
  std::map<std::string, std::int64_t> running_of_, served_of_;  // by client: jobs with a place, tokens given
  std::int64_t running_ = 0, next_id_ = 0;
  double seconds_per_job_ = 2;  // moving average; before the first job a guess
  bool stopping_ = false, draining_ = false;
  SchedulerStats stats_;

  // The engine thread's own.
  std::vector<std::unique_ptr<Run>> runs_;  // oldest first
  std::unique_ptr<PrefixStore> store_;
  std::int64_t turn_ = 0;
  Sampler sampler_;
  std::thread thread_;
};

}  // namespace hadal
