// Runs many jobs on one model: decodes of all running jobs are one batch, long prompts are fed in pieces between them.
// Outputs do not depend on what else runs.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sessions/engine.h"
#include "sessions/job.h"

namespace hadal {

struct SchedulerOptions {
  std::int64_t running = 16;       // jobs that decode together
  std::int64_t waiting = 64;       // jobs in line; one more is refused with kBusy
  std::int64_t prefill_piece = 0;  // tokens of prompt between two decode steps while others decode; 0: chosen
  std::int64_t cache_memory = 0;   // bytes for kept prefixes; 0: a quarter of free memory
  std::int64_t cache_disk = std::int64_t{64} << 30;  // the same, of the files in data/pages
  std::string data;                  // folder of sessions and kept prefixes; empty: nothing outlives the process
  std::string model_name;            // noted in sessions, for people
  std::int64_t keep_finished = 256;  // finished jobs that can still be joined by id
};

struct SchedulerStats {
  std::int64_t running = 0, waiting = 0, finished = 0, refused = 0, cancelled = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0, steps = 0;
  std::int64_t cache_bytes = 0;  // of kept prefixes, in memory
  std::int64_t unkept = 0;       // prefixes that could not be kept
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;  // cancels what still runs

  static Result<std::unique_ptr<Scheduler>> start(Engine engine, const SchedulerOptions& options);

  virtual const Engine& engine() const = 0;

  // Queues a job, or joins the one of the same id. kUsage: options or ids out of range, the prompt does not fit the
  // context, a known id with another prompt. kBusy: the line is full or the session is in use; retry_after() says when
  // to come back. A job that an earlier process began goes on under its old parameters, its first tokens those of then.
  virtual Result<std::shared_ptr<Job>> submit(JobRequest request) = 0;
  virtual std::shared_ptr<Job> find(std::string_view id) const = 0;  // null when unknown
  virtual double retry_after() const = 0;                            // seconds until a place in line should be free

  // Refuses new jobs (kBusy) and waits until the running ones have stopped at a token border with their state saved.
  virtual void drain() = 0;
  virtual SchedulerStats stats() const = 0;
};

}  // namespace hadal
