// One thread runs the model. Every round it takes what has arrived, gives every decoding job one token and at most one
// job a piece of its prompt, all in one step.
#include <algorithm>

#include "sessions/batch_scheduler.h"

namespace hadal {
namespace {

// In a long prompt the state is kept after so many tokens, so that a cut or a cancelled request loses no more.
constexpr Position kKeepEvery = 8192;
// Message borders of a prompt worth keeping: the last, where the next turn goes on, and the one before it, where it
// goes on when the reasoning between them is dropped.
constexpr std::size_t kBordersKept = 2;
// The shortest prompt is read first, but every so many steps the oldest advances, so that none waits for ever.
constexpr std::int64_t kOldestEvery = 4;

}  // namespace

Position Run::next_stop(Position most) const {
  const JobRequest& r = job->request();
  Position stop = std::min(fed() + most, static_cast<Position>(context.size()));
  stop = std::min(stop, (fed() / kKeepEvery + 1) * kKeepEvery);
  for (const auto& fork : forks)
    if (const Position at = fork_point(fork->request()); at > fed()) stop = std::min(stop, at);
  for (std::size_t i = r.borders.size() - std::min(r.borders.size(), kBordersKept); i < r.borders.size(); ++i)
    if (r.borders[i] > fed()) stop = std::min(stop, r.borders[i]);
  if (before_last() > fed()) stop = std::min(stop, before_last());
  return stop;
}

Position Run::fork_point(const JobRequest& fork) const {
  const auto ours = job->request().prompt.begin(), end = job->request().prompt.end();
  const auto shared = std::mismatch(ours, end, fork.prompt.begin(), fork.prompt.end()).first - ours;
  return std::min<Position>(shared, std::ssize(fork.prompt) - 1);  // the last one is fed for its logits
}

// A lookup leaves one token to feed for its logits: kept here, the same prompt again is one step from its first token.
Position Run::before_last() const { return std::ssize(context) - 1; }

bool Run::worth_keeping() const {
  const JobRequest& r = job->request();
  return fed() % kKeepEvery == 0 || fed() == static_cast<Position>(context.size()) || fed() == before_last() ||
         std::find(r.borders.begin(), r.borders.end(), fed()) != r.borders.end();
}

void BatchScheduler::run() {
  while (collect()) step();
}

// Those asked for first by priority, then by clients with the fewest places, then by those served least, then by age.
std::size_t BatchScheduler::best_waiting() const {
  const auto key = [&](const JobRequest& r) {
    const auto running = running_of_.find(r.client);
    const auto served = served_of_.find(r.client);
    return std::tuple(-r.priority, running == running_of_.end() ? 0 : running->second,
                      served == served_of_.end() ? 0 : served->second);
  };
  std::size_t best = 0;
  for (std::size_t i = 1; i < waiting_.size(); ++i)
    if (key(waiting_[i].job->request()) < key(waiting_[best].job->request())) best = i;
  return best;
}

// Ends what was cancelled, fills free places, and sleeps while there is nothing to do.
bool BatchScheduler::collect() {
  std::vector<Waiting> admitted, gone;
  std::deque<Question> questions;
  {
    std::unique_lock lock(mutex_);
    running_ = std::ssize(runs_);
    if (runs_.empty() && waiting_.empty()) idle_.notify_all();
    wake_.wait(lock, [&] { return stopping_ || !runs_.empty() || !waiting_.empty() || !questions_.empty(); });
    questions.swap(questions_);
    if (draining_) {
      gone.assign(waiting_.begin(), waiting_.end());
      waiting_.clear();
    }
    for (std::size_t i = 0; i < waiting_.size();) {
      if (!waiting_[i].job->cancelled()) {
        ++i;
        continue;
      }
      gone.push_back(waiting_[i]);
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    while (running_ < options_.running && !waiting_.empty()) {
      const std::size_t best = best_waiting();
      ++running_of_[waiting_[best].job->request().client];
      admitted.push_back(std::move(waiting_[best]));
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(best));
      ++running_;
    }
    if (stopping_ && runs_.empty() && admitted.empty() && gone.empty() && questions.empty()) return false;
  }
  for (const Question& question : questions) question.then(store_->explain_miss(question.ids));
  for (const Waiting& w : gone) {
    // Nobody may be there to ask again for a detached job: it is noted as begun, and the next process goes on with it.
    const JobRequest& r = w.job->request();
    Status noted;
    if (logs_ && r.detached && !r.unlogged && !w.job->cancelled() && !w.interrupted)
      if (auto begun = logs_->begin(r, false); !begun) noted = std::unexpected(begun.error());
    finish_unstarted(w, noted ? JobFinish::kCancelled : JobFinish::kError,
                     noted ? Error{ErrorCode::kCancelled, ""} : noted.error());
  }
  for (Waiting& w : admitted) admit(std::move(w));
  const bool all = [&] {
    const std::lock_guard lock(mutex_);
    return draining_;
  }();
  for (const auto& run : runs_) {
    if (all || run->job->cancelled())
      finish(*run, JobFinish::kCancelled);
    else if (run->job->stopped())
      finish(*run, JobFinish::kStopString);
  }
  std::erase_if(runs_, [](const auto& run) { return run->job->finished(); });
  return true;
}

void BatchScheduler::admit(Waiting waiting) {
  const JobRequest& r = waiting.job->request();
  const ModelConfig& c = engine_.checkpoint->config();
  auto answer = Answer::begin(*engine_.tokenizer, r, c.max_position_embeddings - std::ssize(r.prompt));
  const auto give_up = [&](JobFinish how, const Error& error) {
    finish_unstarted(waiting, how, error);
    const std::lock_guard lock(mutex_);
    --running_of_[r.client];
  };
  if (!answer) return give_up(JobFinish::kError, answer.error());
  std::optional<JobLog> log;
  if (logs_ && !r.unlogged) {
    auto begun = logs_->begin(r, waiting.interrupted);
    if (!begun) return give_up(JobFinish::kError, begun.error());
    log.emplace(std::move(*begun));
  }
  std::vector<TokenId> context = r.prompt;
  std::optional<Answer::End> end;
  for (const JobToken& token : waiting.answered) {
    context.push_back(token.sampled.id);
    auto taken = answer->take(token.sampled.id, token.spliced);
    if (!taken) return give_up(JobFinish::kError, taken.error());
    end = *taken;
  }
  auto run = std::make_unique<Run>(Run{waiting.job,
                                       std::move(context),
                                       std::move(log),
                                       std::nullopt,
                                       std::move(*answer),
                                       {},
                                       {},
                                       false,
                                       {},
                                       Stopwatch(),
                                       std::move(waiting.forks)});
  run->usage.prompt = std::ssize(r.prompt);
  run->usage.queue_seconds = waiting.since.seconds();
  if (end) return finish(*run, end->finish, end->stop_index);  // only the note of its end was missing
  runs_.push_back(std::move(run));
}

// One prompt advances in a step: the highest priority, then the shortest, so that identical prompts wait for the first
// of them and then find it kept.
Run* BatchScheduler::choose_reader() const {
  Run* best = nullptr;
  const bool oldest = turn_ % kOldestEvery == 0;
  for (const auto& run : runs_) {
    if (run->decoding) continue;
    const auto left = [](const Run& r) { return r.prompt_left().size(); };
    const int own = run->job->request().priority, other = best ? best->job->request().priority : 0;
    if (!best || own > other || (own == other && !oldest && left(*run) < left(*best))) best = run.get();
  }
  return best;
}

// Finds what is kept of the prompt. False: the job has failed.
bool BatchScheduler::begin(Run& run) {
  if (run.sequence) return true;
  // With forks no more is taken than all of them share: what follows the first fork point is short.
  std::size_t most = run.context.size();
  for (const auto& fork : run.forks)
    if (const Position at = run.fork_point(fork->request()); at > 0)
      most = std::min(most, static_cast<std::size_t>(at) + 1);
  auto hit = store_->lookup(std::span<const TokenId>(run.context).first(most));
  if (!hit) {
    finish(run, JobFinish::kError, -1, hit.error());
    return false;
  }
  run.sequence.emplace(std::move(hit->sequence));
  run.usage.cached = std::min<std::int64_t>(hit->reused, run.usage.prompt);
  run.logits.resize(static_cast<std::size_t>(engine_.checkpoint->config().vocab_size));
  JobEvent started;
  started.kind = JobEvent::Kind::kPrefill;
  started.done = hit->reused;
  started.total = run.usage.prompt;
  started.cached = run.usage.cached;
  run.job->tell(started);
  fork_from(run);
  return true;
}

// Forks whose point this run has reached begin, with a fork of its sequence.
void BatchScheduler::fork_from(Run& run) {
  if (run.forks.empty() || run.sequence->refill_left() > 0) return;
  std::vector<std::shared_ptr<JobRecord>> later;
  for (auto& fork : run.forks) {
    const JobRequest& r = fork->request();
    if (run.fork_point(r) > run.fed()) {
      later.push_back(std::move(fork));
      continue;
    }
    std::vector<std::shared_ptr<JobRecord>> one{fork};
    const ModelConfig& c = engine_.checkpoint->config();
    auto answer = Answer::begin(*engine_.tokenizer, r, c.max_position_embeddings - std::ssize(r.prompt));
    if (!answer) {
      end_forks(one, JobFinish::kError, answer.error());
      continue;
    }
    // A fork point that lies behind (there is nothing in common) is where a lookup begins.
    std::optional<Sequence> sequence;
    if (run.fork_point(r) == run.fed()) {
      auto made = run.sequence->fork();
      if (!made) {
        end_forks(one, JobFinish::kError, made.error());
        continue;
      }
      sequence.emplace(std::move(*made));
    }
    auto begun = std::make_unique<Run>(
        Run{fork, r.prompt, std::nullopt, std::move(sequence), std::move(*answer), {}, {}, false, {}, Stopwatch(), {}});
    begun->usage.prompt = std::ssize(r.prompt);
    if (begun->sequence) {
      begun->usage.cached = begun->fed();
      begun->logits.resize(static_cast<std::size_t>(c.vocab_size));
    }
    {
      const std::lock_guard lock(mutex_);
      ++running_of_[r.client];
    }
    runs_.push_back(std::move(begun));
  }
  run.forks = std::move(later);
}

// Forks that never began.
void BatchScheduler::end_forks(std::vector<std::shared_ptr<JobRecord>>& forks, JobFinish how, const Error& error) {
  for (auto& fork : std::exchange(forks, {})) finish_unstarted({std::move(fork), {}}, how, error);
}

void BatchScheduler::keep(const Run& run, bool border) {
  if (run.fed() == 0 || run.sequence->refill_left() > 0) return;
  // A prefix that is not kept costs time later, never an answer now.
  const Status kept = store_->keep(*run.sequence, border);
  const std::lock_guard lock(mutex_);
  stats_.unkept += !kept;
}

void BatchScheduler::step() {
  std::vector<Sequence::Part> parts;
  std::vector<Run*> who;
  for (const auto& run : runs_) {
    if (!run->decoding) continue;
    parts.push_back({&*run->sequence, {&run->next, 1}, run->logits.data()});
    who.push_back(run.get());
  }
  Run* reader = choose_reader();
  ++turn_;
  if (reader && begin(*reader)) {
    const Position most = parts.empty() ? engine_.model->preferred_step() : options_.prefill_piece;
    if (reader->sequence->refill_left() > 0) {
      if (const Status done = reader->sequence->refill_step(most); !done)
        finish(*reader, JobFinish::kError, -1, done.error());
      else
        fork_from(*reader);
    } else {
      const std::span<const TokenId> left = reader->prompt_left();
      const auto n = static_cast<std::size_t>(reader->next_stop(most) - reader->fed());
      parts.push_back({&*reader->sequence, left.first(n), n == left.size() ? reader->logits.data() : nullptr});
      who.push_back(reader);
    }
  }
  if (!parts.empty()) {
    if (const Status fed = Sequence::feed_together(parts); !fed) {
      feed_alone(parts, who);
    } else {
      for (Run* run : who) advance(*run);
    }
  }
  std::erase_if(runs_, [](const auto& run) { return run->job->finished(); });
  const PrefixStats kept = store_->stats();
  const std::lock_guard lock(mutex_);
  stats_.cache_bytes = kept.memory_bytes();
  stats_.cache_disk_bytes = kept.disk_bytes;
  ++stats_.steps;
}

// Together it did not work: memory, a disk, or one job's own fault. Alone, only those fail that must.
void BatchScheduler::feed_alone(std::span<const Sequence::Part> parts, std::span<Run* const> runs) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (const Status fed = Sequence::feed_together(parts.subspan(i, 1)); !fed)
      finish(*runs[i], JobFinish::kError, -1, fed.error());
    else
      advance(*runs[i]);
  }
}

// After a step: reports progress, or takes the next token from the logits.
void BatchScheduler::advance(Run& run) {
  const JobRequest& r = run.job->request();
  if (!run.decoding) {
    JobEvent event;
    event.kind = JobEvent::Kind::kPrefill;
    event.done = std::min<std::int64_t>(run.fed(), run.usage.prompt);
    event.total = run.usage.prompt;
    event.cached = run.usage.cached;
    run.job->tell(event);
    if (run.worth_keeping()) keep(run, run.fed() % kKeepEvery != 0);
    fork_from(run);
    if (!run.prompt_left().empty()) return;
    run.usage.prefill_seconds = run.since.seconds();
    run.since.restart();
    run.decoding = true;
    if (!run.answer.may_begin()) return finish(run, JobFinish::kLength);
  }
  JobEvent event;
  event.kind = JobEvent::Kind::kToken;
  event.token.index = run.answer.length();
  if (const auto forced = run.answer.forced()) {
    const auto raw = raw_logprob(run.logits, *forced);
    if (!raw) return finish(run, JobFinish::kError, -1, raw.error());
    event.token.sampled = {*forced, 0, *raw, 1};
    event.token.spliced = true;
  } else {
    const Draw draw{r.sampling.seed, static_cast<std::uint64_t>(run.fed()), r.stream};
    auto sampled = sampler_.sample(run.logits, r.sampling, draw);
    if (!sampled) return finish(run, JobFinish::kError, -1, sampled.error());
    event.token.sampled = *sampled;
  }
  if (r.top_logprobs > 0) {
    auto top = most_likely(run.logits, r.top_logprobs);
    if (!top) return finish(run, JobFinish::kError, -1, top.error());
    event.token.top = std::move(*top);
  }
  run.next = event.token.sampled.id;
  const bool spliced = event.token.spliced;
  if (run.log)
    if (const Status logged = run.log->token(event.token); !logged)
      return finish(run, JobFinish::kError, -1, logged.error());
  run.job->tell(std::move(event));
  auto end = run.answer.take(run.next, spliced);
  if (!end) return finish(run, JobFinish::kError, -1, end.error());
  if (*end) finish(run, (*end)->finish, (*end)->stop_index);
}

void BatchScheduler::finish(Run& run, JobFinish how, int stop_index, Error error) {
  (run.decoding ? run.usage.decode_seconds : run.usage.prefill_seconds) = run.since.seconds();
  // The last token, a stop id mostly, is not fed: it comes back as part of the next turn's prompt.
  if (how != JobFinish::kError) keep(run, true);
  run.usage.generated = run.answer.length();
  run.usage.thinking = run.answer.thinking();
  JobEvent done;
  done.kind = JobEvent::Kind::kDone;
  done.finish = how;
  done.stop_index = stop_index;
  done.error = std::move(error);
  done.usage = run.usage;
  // A job that a shutdown stops is not over: its log stays open, and the next process goes on with it.
  if (run.log && !(how == JobFinish::kCancelled && !run.job->cancelled())) {
    const Status ended = run.log->end({run.job->id(), how, stop_index, run.usage, done.error.what});
    if (!ended && how != JobFinish::kError) {
      done.finish = JobFinish::kError;
      done.error = ended.error();
    }
  }
  run.log.reset();  // before anybody hears of the end: the session is free again
  {
    const std::lock_guard lock(mutex_);
    const std::string& client = run.job->request().client;
    if (--running_of_[client] == 0) running_of_.erase(client);
    // Shares are of recent use: a client's old credit or debt is worth half after every job that ends.
    for (auto& [name, tokens] : served_of_) tokens /= 2;
    served_of_[client] += run.usage.generated + run.fed() - run.usage.cached;
    std::erase_if(served_of_, [](const auto& entry) { return entry.second == 0; });
    seconds_per_job_ = 0.8 * seconds_per_job_ + 0.2 * (run.usage.prefill_seconds + run.usage.decode_seconds);
    stats_.prompt_tokens += run.usage.prompt;
    stats_.cached_tokens += run.usage.cached;
    stats_.generated_tokens += run.usage.generated;
    ++(how == JobFinish::kCancelled ? stats_.cancelled : stats_.finished);
    finished_.push_back(run.job->id());
    forget_oldest();
  }
  end_forks(run.forks, how == JobFinish::kError ? how : JobFinish::kCancelled, done.error);
  run.job->tell(std::move(done));
}

void BatchScheduler::finish_unstarted(const Waiting& waiting, JobFinish how, Error error) {
  for (const auto& fork : waiting.forks) finish_unstarted({fork, waiting.since}, how, error);
  JobEvent done;
  done.kind = JobEvent::Kind::kDone;
  done.finish = how;
  done.error = std::move(error);
  done.usage.prompt = std::ssize(waiting.job->request().prompt);
  done.usage.queue_seconds = waiting.since.seconds();
  {
    const std::lock_guard lock(mutex_);
    ++(how == JobFinish::kCancelled ? stats_.cancelled : stats_.finished);
    finished_.push_back(waiting.job->id());
    forget_oldest();
  }
  waiting.job->tell(std::move(done));
}

void BatchScheduler::forget_oldest() {
  while (std::ssize(finished_) > options_.keep_finished) {
    jobs_.erase(finished_.front());
    finished_.pop_front();
  }
}

}  // namespace hadal
