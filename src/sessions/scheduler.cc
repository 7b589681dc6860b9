#include "sessions/scheduler.h"

#include "cache/prefix_store.h"
#include "machine/probe.h"
#include "sessions/batch_scheduler.h"
#include "sessions/session_identity.h"

namespace hadal {

Result<std::vector<std::shared_ptr<Job>>> Scheduler::submit(JobRequest request, std::vector<JobRequest> forks) {
  if (!forks.empty()) return fail(ErrorCode::kUnsupported, "this scheduler cannot fork a job");
  return std::vector{HADAL_TRY(submit(std::move(request)))};
}

void Scheduler::explain(std::vector<TokenId>, std::function<void(const PrefixMiss&)> then) { then({}); }

Result<std::unique_ptr<Scheduler>> Scheduler::start(Engine engine, const SchedulerOptions& options) {
  if (!engine.model)
    return fail(ErrorCode::kUnsupported, "reference arithmetic runs one session at a time; use trained or exact");
  if (options.running < 1 || options.waiting < 0 || options.keep_finished < 0)
    return fail(ErrorCode::kUsage, "the scheduler needs at least one place and no negative limits");
  PrefixStoreOptions store;
  store.windows = options.cache_windows;
  store.memory_bytes = options.cache_memory > 0 ? options.cache_memory : machine_info().memory_available_bytes / 4;
  if (!options.data.empty()) {
    store.folder = options.data + "/pages";
    store.disk_bytes = options.cache_disk;
  }
  auto kept = HADAL_TRY(PrefixStore::open(engine.model, store));
  std::unique_ptr<JobLogs> logs;
  if (!options.data.empty()) {
    SessionStoreOptions sessions;
    sessions.identity = HADAL_TRY(session_identity(engine, engine.model->numerics()));
    sessions.model = options.model_name;
    logs = HADAL_TRY(JobLogs::open(options.data, sessions));
  }
  SchedulerOptions settled = options;
  settled.cache_memory = store.memory_bytes;
  settled.cache_disk = options.data.empty() ? 0 : options.cache_disk;
  return std::make_unique<BatchScheduler>(std::move(engine), settled, std::move(kept), std::move(logs));
}

}  // namespace hadal
