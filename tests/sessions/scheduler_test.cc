// The scheduler's promises on the shipped nano model: same tokens whatever else runs, nothing lost by who listens.
#include "sessions/scheduler.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <thread>

#include "cache/prefix_store.h"
#include "sessions/generate.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

const Engine& nano() {
  static const Engine engine = [] {
    EngineOptions options;
    options.model.threads = 2;
    auto checkpoint = Checkpoint::open(HADAL_SOURCE_DIR "/nano/weights");
    return std::move(*Engine::open(*checkpoint, options));
  }();
  return engine;
}

std::vector<TokenId> ids_of(std::string_view text) { return nano().tokenizer->encode(text); }

std::vector<TokenId> question(int i) {
  std::string text = "<｜begin▁of▁sentence｜><｜User｜>";
  for (int n = 0; n <= 40 * (i % 5); ++n) text += "The box number " + std::to_string(n * 7 + i) + " holds stones. ";
  text += "Repeat: zebra " + std::to_string(100 + i) + "<｜Assistant｜></think>";
  return ids_of(text);
}

JobRequest request(std::vector<TokenId> prompt, std::int64_t max_tokens = 24) {
  JobRequest r;
  r.prompt = std::move(prompt);
  r.sampling = nano().default_sampling();
  r.max_tokens = max_tokens;
  return r;
}

// Collects a job's events and waits for its end.
class Ear {
 public:
  explicit Ear(Job& job, std::int64_t from = 0) {
    handle_ = job.listen(from, [this](const JobEvent& event) {
      const std::lock_guard lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    });
  }
  ~Ear() { handle_.reset(); }
  void leave() { handle_.reset(); }

  JobEvent done() {
    wait([&] { return !events_.empty() && events_.back().kind == JobEvent::Kind::kDone; });
    return events_.back();
  }
  void tokens_seen(std::size_t n) {
    wait([&] { return ids_locked().size() >= n; });
  }
  std::vector<TokenId> ids() {
    const std::lock_guard lock(mutex_);
    return ids_locked();
  }
  std::vector<JobEvent> events() {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  std::vector<TokenId> ids_locked() const {
    std::vector<TokenId> out;
    for (const JobEvent& e : events_)
      if (e.kind == JobEvent::Kind::kToken) out.push_back(e.token.sampled.id);
    return out;
  }
  template <class Until>
  void wait(Until until) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), until)) << "nothing happened for a minute";
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<JobEvent> events_;
  std::shared_ptr<void> handle_;
};

std::unique_ptr<Scheduler> start(SchedulerOptions options = {}) {
  auto s = Scheduler::start(nano(), options);
  EXPECT_TRUE(s.has_value()) << (s ? "" : s.error().what);
  return std::move(*s);
}

TEST(Scheduler, SixteenTogetherGiveTheTokensOfSoloRuns) {
  auto scheduler = start();
  std::vector<std::shared_ptr<Job>> jobs;
  for (int i = 0; i < 16; ++i) {
    JobRequest r = request(question(i));
    r.sampling.seed = static_cast<std::uint64_t>(i);
    r.stream = static_cast<std::uint64_t>(i % 3);
    if (i % 4 == 0) r.sampling.temperature = 0;
    jobs.push_back(*scheduler->submit(std::move(r)));
  }
  // A model runs one step at a time: the solo runs begin when the scheduler has nothing left to do.
  for (const auto& job : jobs) Ear(*job).done();
  for (int i = 0; i < 16; ++i) {
    Ear ear(*jobs[static_cast<std::size_t>(i)]);
    const JobEvent done = ear.done();
    auto timeline = nano().new_timeline();
    ASSERT_TRUE(timeline.has_value());
    GenerateOptions options;
    options.sampling = nano().default_sampling();
    options.sampling.seed = static_cast<std::uint64_t>(i);
    if (i % 4 == 0) options.sampling.temperature = 0;
    options.stream = static_cast<std::uint64_t>(i % 3);
    options.max_tokens = 24;
    auto alone = generate(**timeline, question(i), options);
    ASSERT_TRUE(alone.has_value());
    std::vector<TokenId> expected;
    for (const Sampled& s : alone->tokens) expected.push_back(s.id);
    EXPECT_EQ(ear.ids(), expected) << i;
    EXPECT_EQ(done.finish, alone->finish == FinishReason::kStop ? JobFinish::kStop : JobFinish::kLength);
    EXPECT_EQ(done.usage.generated, std::ssize(expected));
    EXPECT_EQ(done.usage.prompt, std::ssize(question(i)));
  }
}

TEST(Scheduler, ASecondRequestOfTheSameIdJoinsTheFirst) {
  auto scheduler = start();
  JobRequest r = request(question(1));
  r.id = "once";
  auto first = *scheduler->submit(r), second = *scheduler->submit(r);
  EXPECT_EQ(first, second);
  Ear ear(*first);
  ear.done();
  EXPECT_EQ(*scheduler->submit(r), first);
  EXPECT_EQ(scheduler->find("once"), first);
  r.prompt = question(2);
  auto other = scheduler->submit(r);
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, ErrorCode::kUsage);
  EXPECT_EQ(scheduler->stats().finished, 1);
}

TEST(Scheduler, WhoListensLateHearsEverything) {
  auto scheduler = start();
  auto job = *scheduler->submit(request(question(3)));
  Ear early(*job);
  early.done();
  Ear late(*job), tail(*job, 5);
  EXPECT_EQ(late.ids(), early.ids());
  const std::vector<TokenId> all = early.ids();
  ASSERT_GT(all.size(), 5u);
  EXPECT_EQ(tail.ids(), std::vector<TokenId>(all.begin() + 5, all.end()));
  EXPECT_EQ(late.events().back().kind, JobEvent::Kind::kDone);
}

TEST(Scheduler, AJobEndsWhenItsLastListenerLeavesUnlessDetached) {
  auto scheduler = start();
  JobRequest endless = request(question(4), -1);
  endless.sampling.stop_ids.clear();
  auto job = *scheduler->submit(endless);
  {
    Ear ear(*job), second(*job);
    ear.tokens_seen(3);
    ear.leave();
    second.tokens_seen(second.ids().size() + 3);  // one listener is enough
  }
  Ear after(*job);
  EXPECT_EQ(after.done().finish, JobFinish::kCancelled);

  JobRequest detached = request(question(4), 200);
  detached.sampling.stop_ids.clear();
  detached.detached = true;
  auto kept = *scheduler->submit(detached);
  {
    Ear ear(*kept);
    ear.tokens_seen(1);
  }
  Ear again(*kept);
  EXPECT_EQ(again.done().finish, JobFinish::kLength);
  EXPECT_EQ(again.ids().size(), 200u);
}

TEST(Scheduler, AFullLineRefusesAndEverybodyElseIsServed) {
  SchedulerOptions options;
  options.running = 2;
  options.waiting = 1;
  auto scheduler = start(options);
  JobRequest endless = request(question(0), -1);
  endless.sampling.stop_ids.clear();
  std::vector<std::shared_ptr<Job>> jobs;
  for (int i = 0; i < 3; ++i) jobs.push_back(*scheduler->submit(endless));
  auto refused = scheduler->submit(endless);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_GE(scheduler->retry_after(), 1);
  for (auto& job : jobs) job->cancel();
  for (auto& job : jobs) EXPECT_EQ(Ear(*job).done().finish, JobFinish::kCancelled);
  auto next = scheduler->submit(request(question(0)));
  ASSERT_TRUE(next.has_value());
  EXPECT_NE(Ear(**next).done().finish, JobFinish::kCancelled);
  EXPECT_EQ(scheduler->stats().refused, 1);
}

TEST(Scheduler, DecodersGoOnWhileALongPromptIsRead) {
  SchedulerOptions options;
  options.prefill_piece = 16;
  auto scheduler = start(options);
  JobRequest endless = request(question(0), -1);
  endless.sampling.stop_ids.clear();
  auto writer = *scheduler->submit(endless);
  Ear ear(*writer);
  ear.tokens_seen(2);
  const std::size_t before = ear.ids().size();
  auto reader = *scheduler->submit(request(question(4), 1));
  Ear read(*reader);
  read.done();
  // Every step that reads 16 tokens of the prompt also gives the writer one.
  EXPECT_GE(ear.ids().size() - before, question(4).size() / 16 - 1);
}

TEST(Scheduler, HigherPriorityAndFairSharesDecideWhoIsNext) {
  SchedulerOptions options;
  options.running = 1;
  auto scheduler = start(options);
  JobRequest endless = request(question(0), -1);
  endless.sampling.stop_ids.clear();
  endless.client = "greedy";
  auto first = *scheduler->submit(endless);
  Ear running(*first);
  running.tokens_seen(1);
  std::mutex mutex;
  std::vector<std::string> order;
  std::vector<std::shared_ptr<void>> handles;
  auto queue = [&](const char* name, const char* client, int priority) {
    JobRequest r = request(question(1), 2);
    r.id = name;
    r.client = client;
    r.priority = priority;
    auto job = *scheduler->submit(r);
    handles.push_back(job->listen(0, [&, name = std::string(name)](const JobEvent& event) {
      if (event.kind != JobEvent::Kind::kDone) return;
      const std::lock_guard lock(mutex);
      order.push_back(name);
    }));
    return job;
  };
  auto a = queue("greedy-2", "greedy", 0), b = queue("modest", "modest", 0), c = queue("urgent", "greedy", 5);
  first->cancel();
  for (auto& job : {a, b, c}) Ear(*job).done();
  EXPECT_EQ(order, (std::vector<std::string>{"urgent", "modest", "greedy-2"}));
}

TEST(Scheduler, DrainStopsAtATokenBorderAndRefusesAfterwards) {
  auto scheduler = start();
  JobRequest endless = request(question(0), -1);
  endless.sampling.stop_ids.clear();
  auto job = *scheduler->submit(endless);
  Ear ear(*job);
  ear.tokens_seen(2);
  scheduler->drain();
  EXPECT_EQ(ear.done().finish, JobFinish::kCancelled);
  EXPECT_EQ(scheduler->submit(endless).error().code, ErrorCode::kBusy);
}

TEST(Scheduler, WhatCannotWorkIsRefusedByName) {
  auto scheduler = start();
  EXPECT_FALSE(scheduler->submit(request({})).has_value());
  EXPECT_FALSE(scheduler->submit(request({TokenId{-1}})).has_value());
  JobRequest r = request(question(0));
  r.top_logprobs = 21;
  EXPECT_NE(scheduler->submit(r).error().what.find("top_logprobs"), std::string::npos);
  r = request(question(0));
  r.stop = {""};
  EXPECT_FALSE(scheduler->submit(r).has_value());
  SchedulerOptions none;
  none.running = 0;
  EXPECT_FALSE(Scheduler::start(nano(), none).has_value());
}

TEST(Scheduler, AlternativesComeMostLikelyFirst) {
  auto scheduler = start();
  JobRequest r = request(question(2), 3);
  r.sampling.temperature = 0;
  r.top_logprobs = 4;
  auto job = *scheduler->submit(r);
  Ear ear(*job);
  ear.done();
  for (const JobEvent& event : ear.events()) {
    if (event.kind != JobEvent::Kind::kToken) continue;
    ASSERT_EQ(event.token.top.size(), 4u);
    EXPECT_EQ(event.token.top[0].id, event.token.sampled.id);
    EXPECT_EQ(event.token.top[0].raw_logprob, event.token.sampled.raw_logprob);
    for (std::size_t i = 1; i < 4; ++i) EXPECT_LE(event.token.top[i].raw_logprob, event.token.top[i - 1].raw_logprob);
  }
}

TEST(Scheduler, ATurnFindsTheOneBeforeKept) {
  auto scheduler = start();
  JobRequest r = request(question(4));
  r.sampling.temperature = 0;
  auto job = *scheduler->submit(r);
  Ear first(*job);
  EXPECT_EQ(first.done().usage.cached, 0);

  // The conversation goes on: prompt and answer again, then more.
  JobRequest next = r;
  const auto answer = first.ids(), more = ids_of("<｜User｜>Repeat: yak 7<｜Assistant｜></think>");
  next.prompt.insert(next.prompt.end(), answer.begin(), answer.end());
  next.borders = {std::ssize(r.prompt), std::ssize(next.prompt)};
  next.prompt.insert(next.prompt.end(), more.begin(), more.end());
  auto second = *scheduler->submit(next);
  Ear heard(*second);
  EXPECT_EQ(heard.done().usage.cached, std::ssize(r.prompt) + std::ssize(answer) - 1);

  // Another answer to the same question: all but the last token at most is there.
  JobRequest again = r;
  again.stream = 1;
  again.sampling.temperature = 1;
  auto third = *scheduler->submit(again);
  EXPECT_GE(Ear(*third).done().usage.cached, std::ssize(r.prompt) - 256);

  // What was found kept changes no token.
  auto fresh = start();
  auto alone = *fresh->submit(next);
  Ear expected(*alone);
  EXPECT_EQ(expected.done().usage.cached, 0);
  EXPECT_EQ(heard.ids(), expected.ids());
}

TEST(Scheduler, TheSamePromptAgainReadsOneToken) {
  auto scheduler = start();
  Ear(**scheduler->submit(request(question(3)))).done();
  const std::int64_t boundaries = scheduler->stats().cache_bytes;
  const JobEvent again = Ear(**scheduler->submit(request(question(3)))).done();
  EXPECT_EQ(again.usage.cached, again.usage.prompt - 1);
  EXPECT_GE(scheduler->stats().cache_bytes, boundaries);
}

TEST(Scheduler, ADataFolderKeepsPrefixesAcrossRestarts) {
  test::TemporaryFolder folder;
  SchedulerOptions options;
  options.data = folder.path();
  JobRequest r = request(question(4));
  r.sampling.temperature = 0;
  std::vector<TokenId> answer;
  {
    auto scheduler = start(options);
    auto job = *scheduler->submit(r);
    Ear ear(*job);
    ear.done();
    answer = ear.ids();
  }
  auto scheduler = start(options);
  JobRequest next = r;
  next.prompt.insert(next.prompt.end(), answer.begin(), answer.end());
  auto job = *scheduler->submit(next);
  EXPECT_GT(Ear(*job).done().usage.cached, std::ssize(r.prompt) / 2);
}

TEST(Scheduler, AForkReadsOnlyWhatIsItsOwn) {
  auto scheduler = start();
  JobRequest main = request(question(4));
  main.sampling.temperature = 0;
  // From the end of the user's turn, before the header, and from the whole prompt.
  const auto ends = static_cast<std::ptrdiff_t>(main.prompt.size()) - 2;
  JobRequest early = request({main.prompt.begin(), main.prompt.begin() + ends}, 4), late = request(main.prompt, 4);
  for (JobRequest* fork : {&early, &late}) {
    fork->sampling.temperature = 0;
    fork->prompt.push_back(ids_of("<｜query｜>").at(0));
  }
  for (const bool kept : {false, true}) {  // the prompt is new, the prompt is kept
    const SchedulerStats before = scheduler->stats();
    auto jobs = scheduler->submit(main, {early, late});
    ASSERT_TRUE(jobs.has_value()) << jobs.error().what;
    ASSERT_EQ(jobs->size(), 3u);
    Ear first(*(*jobs)[0]), second(*(*jobs)[1]), third(*(*jobs)[2]);
    first.done();
    EXPECT_EQ(second.done().usage.prompt - second.done().usage.cached, 1);
    EXPECT_EQ(third.done().usage.prompt - third.done().usage.cached, 1);
    const SchedulerStats after = scheduler->stats();
    const std::int64_t read = after.prompt_tokens - after.cached_tokens - before.prompt_tokens + before.cached_tokens;
    EXPECT_EQ(read, kept ? 2 + 1 + 1 : std::ssize(main.prompt) + 1 + 1);
    auto fresh = start();
    for (auto* one : {&main, &early, &late}) {
      Ear alone(**fresh->submit(*one));
      alone.done();
      EXPECT_EQ(alone.ids(), (one == &main ? first : one == &early ? second : third).ids());
    }
  }
}

TEST(Scheduler, ForksEndWithAJobThatNeverGetsThere) {
  SchedulerOptions options;
  options.running = 1;
  auto scheduler = start(options);
  auto first = *scheduler->submit(request(question(4), 200));
  Ear busy(*first);
  auto jobs = *scheduler->submit(request(question(3)), {request(question(3), 2)});
  Ear fork(*jobs[1]);
  jobs[0]->cancel();
  EXPECT_EQ(fork.done().finish, JobFinish::kCancelled);
}

TEST(Scheduler, AnAnswerIsKnownAfterARestart) {
  test::TemporaryFolder folder;
  SchedulerOptions options;
  options.data = folder.path();
  JobRequest r = request(question(2), 12);
  r.id = "client/key/0";
  r.top_logprobs = 3;
  r.sampling.seed = 5;
  std::vector<JobEvent> before;
  std::string session;
  {
    auto scheduler = start(options);
    auto job = *scheduler->submit(r);
    Ear ear(*job);
    ear.done();
    before = ear.events();
    session = job->session();
  }
  auto scheduler = start(options);
  JobRequest again = r;
  again.sampling.seed = 6;  // what it was asked with then counts
  auto job = *scheduler->submit(again);
  EXPECT_TRUE(job->finished());
  EXPECT_EQ(job->session(), session);
  EXPECT_EQ(scheduler->stats().steps, 0);
  Ear ear(*job);
  const JobEvent done = ear.done();
  EXPECT_EQ(done.finish, before.back().finish);
  EXPECT_EQ(done.usage.generated, before.back().usage.generated);
  std::erase_if(before, [](const JobEvent& e) { return e.kind != JobEvent::Kind::kToken; });
  const auto after = ear.events();
  ASSERT_EQ(after.size(), before.size() + 1);
  for (std::size_t i = 0; i < before.size(); ++i) {
    const JobToken &a = before[i].token, &b = after[i].token;
    EXPECT_EQ(a.sampled.id, b.sampled.id);
    EXPECT_EQ(a.sampled.raw_logprob, b.sampled.raw_logprob);
    ASSERT_EQ(b.top.size(), 3u);
    for (std::size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(a.top[k].id, b.top[k].id);
      EXPECT_EQ(a.top[k].raw_logprob, b.top[k].raw_logprob);
    }
  }
  again.prompt = question(3);
  const auto other = scheduler->submit(again);
  ASSERT_FALSE(other.has_value());
  EXPECT_NE(other.error().what.find("another prompt"), std::string::npos);
}

TEST(Scheduler, ExplainsWhatALookupWouldFind) {
  auto scheduler = start();
  const JobRequest r = request(question(4), 4);
  auto job = *scheduler->submit(r);
  Ear(*job).done();
  std::vector<TokenId> other = r.prompt;
  other[other.size() / 2] = ids_of("z").at(0);
  std::promise<PrefixMiss> answer;
  scheduler->explain(other, [&](const PrefixMiss& miss) { answer.set_value(miss); });
  const PrefixMiss miss = answer.get_future().get();
  EXPECT_EQ(miss.agree, std::ssize(other) / 2);
  ASSERT_FALSE(miss.kept.empty());
  EXPECT_EQ(miss.kept[0], r.prompt[other.size() / 2]);
  EXPECT_EQ(miss.asked.at(0), other[other.size() / 2]);
}

}  // namespace
}  // namespace hadal
