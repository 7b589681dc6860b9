#include "sessions/batch_scheduler.h"

#include <fmt/format.h>

#include <algorithm>

namespace hadal {
namespace {

// While others decode, a prompt is fed in pieces of this many tokens: long enough that the weights a step reads pay,
// short enough that nobody's next token waits for more than a few dozen decode steps' time.
constexpr std::int64_t kPieceBesideDecodes = 128;
constexpr double kLongestWait = 60, kShortestWait = 1;  // seconds that retry_after() may say

}  // namespace

BatchScheduler::BatchScheduler(Engine engine, const SchedulerOptions& options, std::unique_ptr<PrefixStore> store,
                               std::unique_ptr<JobLogs> logs)
    : engine_(std::move(engine)),
      options_(options),
      logs_(std::move(logs)),
      process_(new_session_id().substr(0, 8)),
      store_(std::move(store)) {
  stats_.cache_limit = options_.cache_memory;
  stats_.cache_disk_limit = options_.cache_disk;
  if (logs_) resume();
  if (options_.prefill_piece <= 0)
    options_.prefill_piece = std::min(kPieceBesideDecodes, engine_.model->preferred_step());
  thread_ = std::thread([this] { run(); });
}

BatchScheduler::~BatchScheduler() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = draining_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

Status BatchScheduler::check(const JobRequest& r) const {
  const ModelConfig& c = engine_.checkpoint->config();
  if (r.prompt.empty()) return fail(ErrorCode::kUsage, "the prompt is empty; give at least one token");
  for (const TokenId id : r.prompt)
    if (to_int(id) < 0 || to_int(id) >= c.vocab_size)
      return fail(ErrorCode::kUsage, "token id {} is outside the vocabulary of {}", to_int(id), c.vocab_size);
  if (std::ssize(r.prompt) > c.max_position_embeddings)
    return fail(ErrorCode::kUsage, "the prompt of {} tokens does not fit the model's context of {}", r.prompt.size(),
                c.max_position_embeddings);
  if (r.top_logprobs < 0 || r.top_logprobs > 20)
    return fail(ErrorCode::kUsage, "top_logprobs is {}; it can be 0 to 20", r.top_logprobs);
  for (const TokenId id : r.after_thinking)
    if (to_int(id) < 0 || to_int(id) >= c.vocab_size)
      return fail(ErrorCode::kUsage, "token id {} to put in is outside the vocabulary of {}", to_int(id), c.vocab_size);
  HADAL_CHECK_OK(check_sampling(r.sampling));
  HADAL_CHECK_OK(Answer::begin(*engine_.tokenizer, r, 1));
  return {};
}

Result<std::shared_ptr<Job>> BatchScheduler::submit(JobRequest request) {
  return HADAL_TRY(submit(std::move(request), {})).front();
}

Result<std::vector<std::shared_ptr<Job>>> BatchScheduler::submit(JobRequest request, std::vector<JobRequest> forks) {
  HADAL_CHECK_OK(check(request));
  for (JobRequest& fork : forks) {
    HADAL_CHECK_OK(check(fork));
    fork.id.clear();
    fork.session.clear();
    fork.client = request.client;
    fork.unlogged = true;
  }
  if (!request.session.empty() && !logs_)
    return fail(ErrorCode::kUnsupported,
                "session '{}' was named, but the server keeps no sessions; start it with --data", request.session);
  if (!request.session.empty() && !valid_session_id(request.session))
    return fail(ErrorCode::kUsage, "'{}' cannot be a session's id: 1 to 64 of a-z A-Z 0-9 _ -", request.session);
  std::optional<EndedJob> ended;  // a log is read without holding anybody up
  if (!request.id.empty() && logs_ && !request.unlogged && !find(request.id)) ended = logs_->ended(request.id);
  const std::lock_guard lock(mutex_);
  std::vector<JobToken> answered;
  bool interrupted = false;
  if (!request.id.empty()) {
    const auto other_prompt = [&] {
      return fail(ErrorCode::kUsage, "request id '{}' is taken by a request with another prompt", request.id);
    };
    if (const auto known = jobs_.find(request.id); known != jobs_.end()) {
      if (known->second->request().prompt != request.prompt) return other_prompt();
      return with_forks(known->second, std::move(forks));
    }
    if (const auto before = interrupted_.find(request.id); before != interrupted_.end()) {
      if (before->second.request.prompt != request.prompt) return other_prompt();
      // As it was asked for then: the answer goes on under the parameters it began with.
      const bool detached = request.detached;
      request = std::move(before->second.request);
      request.detached = detached;
      answered = std::move(before->second.tokens);
      interrupted = true;
      interrupted_.erase(before);
    } else if (ended && ended->end.finish != JobFinish::kError && ended->end.finish != JobFinish::kCancelled) {
      // What failed or was stopped is asked for again.
      return with_forks(HADAL_TRY(ended_before(std::move(*ended), request)), std::move(forks));
    }
  }
  if (draining_) {
    ++stats_.refused;
    return fail(ErrorCode::kBusy, "the server is shutting down; ask again when it is back");
  }
  // A free place counts: the line is for those who find none.
  const std::int64_t free = std::max<std::int64_t>(options_.running - running_, 0);
  if (std::ssize(waiting_) >= options_.waiting + free) {
    ++stats_.refused;
    return fail(ErrorCode::kBusy, "{} requests are running and {} waiting; ask again later", running_, waiting_.size());
  }
  auto job = HADAL_TRY(queue(std::move(request), std::move(answered), interrupted));
  std::vector<std::shared_ptr<Job>> out{job};
  for (JobRequest& fork : forks) {
    fork.id = made_up_id();
    auto record = std::make_shared<JobRecord>(std::move(fork));
    jobs_.emplace(record->id(), record);
    waiting_.back().forks.push_back(record);
    out.push_back(std::move(record));
  }
  return out;
}

// Forks of a job that runs already or is over: on their own, from what is kept. With mutex_ held.
Result<std::vector<std::shared_ptr<Job>>> BatchScheduler::with_forks(std::shared_ptr<Job> job,
                                                                     std::vector<JobRequest> forks) {
  std::vector<std::shared_ptr<Job>> out{std::move(job)};
  for (JobRequest& fork : forks) out.push_back(HADAL_TRY(queue(std::move(fork), {}, false)));
  return out;
}

Result<std::shared_ptr<Job>> BatchScheduler::ended_before(EndedJob before, const JobRequest& request) {
  if (before.request.prompt != request.prompt)
    return fail(ErrorCode::kUsage, "request id '{}' is taken by a request with another prompt", request.id);
  auto job = std::make_shared<JobRecord>(std::move(before.request));
  for (JobToken& token : before.tokens) {
    JobEvent event;
    event.kind = JobEvent::Kind::kToken;
    event.token = std::move(token);
    job->tell(std::move(event));
  }
  JobEvent done;
  done.kind = JobEvent::Kind::kDone;
  done.finish = before.end.finish;
  done.stop_index = before.end.stop_index;
  done.usage = before.end.usage;
  job->tell(std::move(done));
  jobs_.emplace(job->id(), job);
  finished_.push_back(job->id());
  forget_oldest();
  return job;
}

std::string BatchScheduler::made_up_id() { return make_up_job_id(process_, ++next_id_); }

// A job's session is chosen here, so that it can be told at once. With mutex_ held.
Result<std::shared_ptr<Job>> BatchScheduler::queue(JobRequest request, std::vector<JobToken> answered,
                                                   bool interrupted) {
  if (request.unlogged)
    request.session.clear();
  else if (logs_ && request.session.empty())
    request.session = logs_->choose(request.prompt, [&](const std::string& id) { return taken(id); });
  else if (logs_ && taken(request.session))
    return fail(ErrorCode::kBusy, "session '{}' is being continued by another request; ask again when that has ended",
                request.session);
  if (request.id.empty()) request.id = made_up_id();
  auto job = std::make_shared<JobRecord>(std::move(request));
  jobs_.emplace(job->id(), job);
  for (const JobToken& token : answered) {
    JobEvent event;
    event.kind = JobEvent::Kind::kToken;
    event.token = token;
    job->tell(std::move(event));
  }
  const std::int64_t free = std::max<std::int64_t>(options_.running - running_, 0);
  if (std::ssize(waiting_) >= free) {
    JobEvent queued;
    queued.kind = JobEvent::Kind::kQueued;
    queued.done = std::ssize(waiting_) - free;
    job->tell(queued);
  }
  waiting_.push_back({job, {}, std::move(answered), interrupted});
  wake_.notify_all();
  return job;
}

bool BatchScheduler::session_busy(std::string_view session) const {
  const std::lock_guard lock(mutex_);
  return taken(session);
}

void BatchScheduler::explain(std::vector<TokenId> ids, std::function<void(const PrefixMiss&)> then) {
  const std::lock_guard lock(mutex_);
  questions_.push_back({std::move(ids), std::move(then)});
  wake_.notify_all();
}

bool BatchScheduler::taken(std::string_view session) const {
  for (const auto& [id, job] : jobs_)
    if (job->session() == session && !job->finished()) return true;
  for (const auto& [id, job] : interrupted_)
    if (job.request.session == session) return true;
  return false;
}

// Detached jobs go on by themselves; the others when they are asked for again.
void BatchScheduler::resume() {
  std::vector<Error> problems;
  auto all = logs_->interrupted(problems);
  resumed_.unreadable = std::ssize(problems);
  for (const Error& problem : problems) fmt::print(stderr, "hadal: {}\n", problem.what);
  const std::lock_guard lock(mutex_);
  for (InterruptedJob& job : all) {
    if (!check(job.request)) continue;
    if (!job.request.detached) {
      interrupted_.emplace(job.request.id, std::move(job));
      continue;
    }
    ++resumed_.going_on;
    if (auto queued = queue(std::move(job.request), std::move(job.tokens), true); !queued)
      fmt::print(stderr, "hadal: {}\n", queued.error().what);
  }
  resumed_.waiting = std::ssize(interrupted_);
}

std::shared_ptr<Job> BatchScheduler::find(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : it->second;
}

double BatchScheduler::retry_after() const {
  const std::lock_guard lock(mutex_);
  const auto places = static_cast<double>(std::max<std::int64_t>(options_.running, 1));
  return std::clamp(seconds_per_job_ / places, kShortestWait, kLongestWait);
}

void BatchScheduler::drain() {
  std::unique_lock lock(mutex_);
  draining_ = true;
  wake_.notify_all();
  idle_.wait(lock, [&] { return running_ == 0 && waiting_.empty(); });
}

SchedulerStats BatchScheduler::stats() const {
  const std::lock_guard lock(mutex_);
  SchedulerStats s = stats_;
  s.running = running_;
  s.waiting = std::ssize(waiting_);
  return s;
}

}  // namespace hadal
