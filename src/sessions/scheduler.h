// Runs many jobs on one model: decodes of all running jobs are one batch, long prompts are fed in pieces between them.
// Outputs do not depend on what else runs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cache/window_policy.h"
#include "sessions/engine.h"
#include "sessions/job.h"

namespace hadal {

struct PrefixMiss;
class SessionStore;

struct SchedulerOptions {
  std::int64_t running = 16;       // jobs that decode together
  std::int64_t waiting = 64;       // jobs in line; one more is refused with kBusy
  std::int64_t prefill_piece = 0;  // tokens of prompt between two decode steps while others decode; 0: chosen
  std::int64_t cache_memory = 0;   // bytes for kept prefixes; 0: a quarter of free memory
  std::int64_t cache_disk = std::int64_t{64} << 30;  // the same, of the files in data/pages
  std::optional<WindowPolicy> cache_windows = {};    // of kept prefixes on disk; unset: chosen
  std::string data;                  // folder of sessions and kept prefixes; empty: nothing outlives the process
  std::string model_name;            // noted in sessions, for people
  std::int64_t keep_finished = 256;  // finished jobs that can still be joined by id
};

struct SchedulerStats {
  std::int64_t running = 0, waiting = 0, finished = 0, refused = 0, cancelled = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0, steps = 0;
  std::int64_t cache_bytes = 0, cache_limit = 0;            // of kept prefixes, in memory
  std::int64_t cache_disk_bytes = 0, cache_disk_limit = 0;  // of their files; 0 without a data folder
  std::int64_t unkept = 0;                                  // prefixes that could not be kept
};

// What the start found of the last process.
struct Resumed {
  std::int64_t going_on = 0;    // detached jobs that were interrupted and go on by themselves
  std::int64_t waiting = 0;     // interrupted jobs that go on when they are asked for again by their id
  std::int64_t unreadable = 0;  // sessions with such jobs that cannot be read
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;  // cancels what still runs

  static Result<std::unique_ptr<Scheduler>> start(Engine engine, const SchedulerOptions& options);

  virtual const Engine& engine() const = 0;

  // Queues a job, or joins the one of the same id. kUsage: options or ids out of range, the prompt does not fit the
  // context, a known id with another prompt. kBusy: the line is full or the session is in use; retry_after() says when
  // to come back. A job that an earlier process began goes on under its old parameters, its first tokens those of then.
  // One that an earlier process ended is answered from its log.
  virtual Result<std::shared_ptr<Job>> submit(JobRequest request) = 0;
  // The same, and beside it jobs whose prompts begin like the first one's: each takes a fork of its sequence where they
  // part, so that only the rest of its own prompt is read. They are not logged, have no ids, and count against nobody's
  // place in line. The first of the result is the job itself. Not all schedulers have forks: kUnsupported.
  virtual Result<std::vector<std::shared_ptr<Job>>> submit(JobRequest request, std::vector<JobRequest> forks);
  virtual std::shared_ptr<Job> find(std::string_view id) const = 0;  // null when unknown
  virtual double retry_after() const = 0;                            // seconds until a place in line should be free

  // Refuses new jobs (kBusy) and waits until the running ones have stopped at a token border with their state saved.
  virtual void drain() = 0;
  virtual SchedulerStats stats() const = 0;
  virtual Resumed resumed() const { return {}; }

  // What a lookup of these tokens in the kept prefixes would reuse, and where they differ from the nearest one.
  // Answered between two steps, on the engine's thread: `then` must not block. Never called after the scheduler's end.
  virtual void explain(std::vector<TokenId> ids, std::function<void(const PrefixMiss&)> then);

  virtual SessionStore* sessions() { return nullptr; }  // null without a data folder
  // A job of this session is waiting or running.
  virtual bool session_busy(std::string_view) const { return false; }
};

}  // namespace hadal
