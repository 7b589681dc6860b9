// A scheduler that runs one job at a time and keeps nothing between them but the last timeline.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "sampling/stop_strings.h"
#include "sessions/scheduler.h"

namespace hadal {
namespace {

class SoloJob final : public Job {
 public:
  SoloJob(JobRequest request, std::string id) : request_(std::move(request)), id_(std::move(id)) {}
  const std::string& id() const override { return id_; }
  const std::string& session() const override { return request_.session; }
  bool finished() const override { return finished_; }
  void cancel() override { cancelled_ = true; }

  std::shared_ptr<void> listen(std::int64_t from, Listener listener) override {
    const std::lock_guard lock(mutex_);
    for (const JobToken& t : tokens_) {
      if (t.index < from) continue;
      JobEvent e;
      e.token = t;
      listener(e);
    }
    if (finished_) {
      listener(done_);
      return std::make_shared<int>(0);
    }
    const std::int64_t handle = next_++;
    listeners_[handle] = std::move(listener);
    auto self = std::static_pointer_cast<SoloJob>(self_.lock());
    return std::shared_ptr<void>(nullptr, [self, handle](void*) {
      const std::lock_guard guard(self->mutex_);
      self->listeners_.erase(handle);
      if (self->listeners_.empty() && !self->request_.detached) self->cancelled_ = true;
    });
  }

  void emit(const JobEvent& event) {
    const std::lock_guard lock(mutex_);
    if (event.kind == JobEvent::Kind::kToken) tokens_.push_back(event.token);
    if (event.kind == JobEvent::Kind::kDone) {
      done_ = event;
      finished_ = true;
    }
    for (auto& [handle, listener] : listeners_) listener(event);
  }

  JobRequest request_;
  std::string id_;
  std::weak_ptr<SoloJob> self_;
  std::atomic<bool> cancelled_{false}, finished_{false};
  Stopwatch queued_;

 private:
  std::mutex mutex_;
  std::vector<JobToken> tokens_;
  JobEvent done_;
  std::map<std::int64_t, Listener> listeners_;
  std::int64_t next_ = 0;
};

class SoloScheduler final : public Scheduler {
 public:
  SoloScheduler(Engine engine, const SchedulerOptions& options) : engine_(std::move(engine)), options_(options) {
    thread_ = std::thread([this] { work(); });
  }
  ~SoloScheduler() override {
    drain();
    thread_.join();
  }
  const Engine& engine() const override { return engine_; }

  Result<std::shared_ptr<Job>> submit(JobRequest request) override {
    HADAL_CHECK_OK(check_sampling(request.sampling));
    if (request.prompt.empty()) return fail(ErrorCode::kUsage, "the prompt is empty; give at least one token");
    const std::int64_t context = engine_.checkpoint->config().max_position_embeddings;
    if (static_cast<std::int64_t>(request.prompt.size()) >= context)
      return fail(ErrorCode::kUsage, "the prompt of {} tokens does not fit the context of {}", request.prompt.size(),
                  context);
    if (auto stops = StopStrings::make(request.stop); !stops) return std::unexpected(stops.error());
    const std::lock_guard lock(mutex_);
    if (auto known = jobs_.find(request.id); !request.id.empty() && known != jobs_.end()) {
      if (known->second->request_.prompt != request.prompt)
        return fail(ErrorCode::kUsage, "the id '{}' belongs to a job with another prompt", request.id);
      return known->second;
    }
    if (ending_ || static_cast<std::int64_t>(queue_.size()) >= options_.waiting) {
      ++stats_.refused;
      return fail(ErrorCode::kBusy, "every place in line is taken; try again later");
    }
    std::string id = request.id.empty() ? fmt::format("job-{}", ++made_) : request.id;
    auto job = std::make_shared<SoloJob>(std::move(request), id);
    job->self_ = job;
    jobs_[id] = job;
    order_.push_back(id);
    while (static_cast<std::int64_t>(order_.size()) > options_.keep_finished && jobs_[order_.front()]->finished()) {
      jobs_.erase(order_.front());
      order_.pop_front();
    }
    queue_.push_back(job);
    changed_.notify_all();
    return job;
  }
  std::shared_ptr<Job> find(std::string_view id) const override {
    const std::lock_guard lock(mutex_);
    auto found = jobs_.find(std::string(id));
    return found == jobs_.end() ? nullptr : found->second;
  }
  double retry_after() const override { return 1; }
  void drain() override {
    std::unique_lock lock(mutex_);
    ending_ = true;
    for (auto& [id, job] : jobs_) job->cancel();
    changed_.notify_all();
    idle_.wait(lock, [this] { return queue_.empty() && !busy_; });
  }
  SchedulerStats stats() const override {
    const std::lock_guard lock(mutex_);
    SchedulerStats s = stats_;
    s.waiting = static_cast<std::int64_t>(queue_.size());
    s.running = busy_;
    return s;
  }

 private:
  void work() {
    for (;;) {
      std::shared_ptr<SoloJob> job;
      {
        std::unique_lock lock(mutex_);
        busy_ = false;
        idle_.notify_all();
        changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
        if (queue_.empty()) return;
        job = queue_.front();
        queue_.pop_front();
        busy_ = true;
      }
      JobEvent done;
      done.kind = JobEvent::Kind::kDone;
      Status status = run(*job, done);
      if (!status) {
        done.finish = JobFinish::kError;
        done.error = status.error();
      }
      {
        const std::lock_guard lock(mutex_);
        ++stats_.finished;
        stats_.cancelled += done.finish == JobFinish::kCancelled;
        stats_.prompt_tokens += done.usage.prompt;
        stats_.cached_tokens += done.usage.cached;
        stats_.generated_tokens += done.usage.generated;
      }
      job->emit(done);
    }
  }

  Status run(SoloJob& job, JobEvent& done) {
    const JobRequest& r = job.request_;
    done.usage.queue_seconds = job.queued_.seconds();
    if (!timeline_) timeline_ = HADAL_TRY(engine_.new_timeline());
    std::span<const TokenId> past = timeline_->tokens();
    std::size_t shared = 0;
    while (shared < past.size() && shared + 1 < r.prompt.size() && past[shared] == r.prompt[shared]) ++shared;
    HADAL_CHECK_OK(timeline_->rewind(static_cast<Position>(shared)));
    done.usage.prompt = static_cast<std::int64_t>(r.prompt.size());
    done.usage.cached = static_cast<std::int64_t>(shared);
    std::vector<float> logits(static_cast<std::size_t>(timeline_->config().vocab_size));
    Stopwatch watch;
    for (std::size_t at = shared; at < r.prompt.size();) {
      JobEvent e;
      e.kind = JobEvent::Kind::kPrefill;
      e.done = static_cast<std::int64_t>(at);
      e.total = done.usage.prompt;
      job.emit(e);
      if (job.cancelled_) {
        done.finish = JobFinish::kCancelled;
        return {};
      }
      const std::size_t n = std::min(static_cast<std::size_t>(timeline_->preferred_step()), r.prompt.size() - at);
      HADAL_CHECK_OK(timeline_->feed(std::span(r.prompt).subspan(at, n), logits.data()));
      at += n;
    }
    done.usage.prefill_seconds = watch.seconds();
    watch.restart();
    const Tokenizer& tokenizer = *engine_.tokenizer;
    const auto close = tokenizer.find_added("</think>"), open = tokenizer.find_added("<think>");
    bool thinking = open && r.prompt.back() == *open;
    auto stops = HADAL_TRY(StopStrings::make(r.stop));
    Sampler sampler;
    std::deque<TokenId> forced;
    if (!thinking) forced.assign(r.after_thinking.begin(), r.after_thinking.end());
    done.finish = JobFinish::kLength;
    const std::int64_t room = timeline_->config().max_position_embeddings - timeline_->length();
    const std::int64_t limit = r.max_tokens < 0 ? room : std::min(room, r.max_tokens);
    for (std::int64_t i = 0; i < limit; ++i) {
      if (job.cancelled_) {
        done.finish = JobFinish::kCancelled;
        break;
      }
      JobEvent e;
      e.token.index = i;
      if (thinking && r.thinking_budget >= 0 && done.usage.thinking >= r.thinking_budget && close) forced = {*close};
      if (!forced.empty()) {
        e.token.sampled.id = forced.front();
        e.token.spliced = true;
        forced.pop_front();
      } else {
        const Draw draw{r.sampling.seed, static_cast<std::uint64_t>(timeline_->length()), r.stream};
        e.token.sampled = HADAL_TRY(sampler.sample(logits, r.sampling, draw));
      }
      const TokenId id = e.token.sampled.id;
      if (r.top_logprobs > 0) {
        std::vector<std::int32_t> order(logits.size());
        for (std::size_t k = 0; k < order.size(); ++k) order[k] = static_cast<std::int32_t>(k);
        const auto most = std::min<std::size_t>(static_cast<std::size_t>(r.top_logprobs), order.size());
        std::partial_sort(
            order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
            [&](auto a, auto b) { return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)]; });
        for (std::size_t k = 0; k < most; ++k) {
          Sampled s;
          s.id = TokenId{order[k]};
          s.raw_logprob = HADAL_TRY(raw_logprob(logits, s.id));
          e.token.top.push_back(s);
        }
      }
      ++done.usage.generated;
      if (thinking) {
        ++done.usage.thinking;
        if (close && id == *close) {
          thinking = false;
          forced.assign(r.after_thinking.begin(), r.after_thinking.end());
        }
      }
      const bool stop = !e.token.spliced && is_stop(r.sampling, id);
      HADAL_CHECK_OK(timeline_->feed(std::span(&id, 1), logits.data()));
      job.emit(e);
      if (stop) {
        done.finish = JobFinish::kStop;
        break;
      }
      if (!thinking && !r.stop.empty()) {
        const auto step = stops.feed(tokenizer.bytes_of(id));
        if (step.stop >= 0) {
          done.finish = JobFinish::kStopString;
          done.stop_index = step.stop;
          break;
        }
      }
    }
    done.usage.decode_seconds = watch.seconds();
    return {};
  }

  Engine engine_;
  SchedulerOptions options_;
  std::unique_ptr<Timeline> timeline_;
  mutable std::mutex mutex_;
  std::condition_variable changed_, idle_;
  std::deque<std::shared_ptr<SoloJob>> queue_;
  std::map<std::string, std::shared_ptr<SoloJob>> jobs_;
  std::deque<std::string> order_;
  std::int64_t made_ = 0;
  bool ending_ = false, busy_ = false;
  SchedulerStats stats_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Scheduler>> Scheduler::start(Engine engine, const SchedulerOptions& options) {
  return std::make_unique<SoloScheduler>(std::move(engine), options);
}

}  // namespace hadal
