// kill -9 while jobs run: what was heard is in the log, and the next process goes on to the same answer. Included by
// one file of each test program, because the program starts itself as the child.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "sessions/generate.h"
#include "sessions/scheduler.h"
#include "sessions/session_store.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

constexpr const char* kFolder = "HADAL_TEST_CHILD_FOLDER";

Engine nano() {
  EngineOptions options;
  options.model.threads = 1;
  auto checkpoint = Checkpoint::open(HADAL_SOURCE_DIR "/nano/weights");
  return std::move(*Engine::open(*checkpoint, options));
}

// Job j of the test: some begin with a long prompt, all sample, all are detached.
JobRequest job_request(const Engine& engine, int j) {
  JobRequest r;
  r.id = "job-" + std::string(1, static_cast<char>('a' + j));
  std::string text = "<｜begin▁of▁sentence｜><｜User｜>";
  for (int n = 0; n < 20 * j * j; ++n) text += "Box " + std::to_string(n) + " holds stones. ";
  r.prompt = engine.tokenizer->encode(text + "Tell me.<｜Assistant｜></think>");
  r.sampling = engine.default_sampling();
  r.sampling.stop_ids.clear();
  r.sampling.seed = static_cast<std::uint64_t>(j);
  r.max_tokens = 160;
  r.detached = true;
  return r;
}
constexpr int kJobs = 4;

// What the child does: submits every job (joining those it finds), says every token it hears, ends when all have.
TEST(InterruptedJobChild, DISABLED_Run) {
  const char* folder = std::getenv(kFolder);
  ASSERT_NE(folder, nullptr);
  const Engine engine = nano();
  SchedulerOptions options;
  options.data = folder;
  options.cache_memory = 3 << 20;  // little: prefixes are evicted all the time
  auto scheduler = Scheduler::start(engine, options);
  ASSERT_TRUE(scheduler.has_value()) << scheduler.error().what;
  std::mutex mutex;
  std::condition_variable changed;
  int done = 0;
  std::vector<std::shared_ptr<void>> handles;
  std::vector<std::shared_ptr<Job>> jobs;
  for (int j = 0; j < kJobs; ++j) {
    auto job = (*scheduler)->submit(job_request(engine, j));
    ASSERT_TRUE(job.has_value()) << job.error().what;
    jobs.push_back(*job);
    handles.push_back((*job)->listen(0, [&, j](const JobEvent& event) {
      char line[64];
      int n = 0;
      if (event.kind == JobEvent::Kind::kToken)
        n = std::snprintf(line, sizeof line, "%d %d %d\n", j, static_cast<int>(event.token.index),
                          to_int(event.token.sampled.id));
      if (event.kind == JobEvent::Kind::kDone)
        n = std::snprintf(line, sizeof line, "%d -1 %d\n", j, static_cast<int>(event.finish));
      if (n > 0 && write(3, line, static_cast<std::size_t>(n)) != n) _exit(9);
      if (event.kind != JobEvent::Kind::kDone) return;
      const std::lock_guard lock(mutex);
      ++done;
      changed.notify_all();
    }));
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done == kJobs; });
}

struct Heard {
  std::map<int, std::vector<int>> ids;  // by job
  std::map<int, int> finish;
};

// Runs a child and kills it after `milliseconds` (never if negative). What it said, and whether it ended by itself.
bool run_child(const std::string& folder, int milliseconds, Heard& heard) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 3);
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    setenv(kFolder, folder.c_str(), 1);
    execl("/proc/self/exe", "test", "--gtest_also_run_disabled_tests", "--gtest_filter=InterruptedJobChild.*",
          static_cast<char*>(nullptr));
    _exit(8);
  }
  close(ends[1]);
  std::thread killer([&] {
    if (milliseconds < 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    kill(child, SIGKILL);
  });
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  killer.join();
  int status = 0;
  waitpid(child, &status, 0);
  heard = {};
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    int job = 0, index = 0, id = 0;
    EXPECT_EQ(std::sscanf(text.c_str() + at, "%d %d %d", &job, &index, &id), 3);
    if (index < 0) {
      heard.finish[job] = id;
      continue;
    }
    EXPECT_EQ(index, static_cast<int>(heard.ids[job].size())) << "a token is missing or told twice";
    heard.ids[job].push_back(id);
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void kill_at_random_moments(int rounds, unsigned seed) {
  std::map<int, std::vector<int>> expected;
  {
    const Engine engine = nano();
    for (int j = 0; j < kJobs; ++j) {
      const JobRequest r = job_request(engine, j);
      auto timeline = engine.new_timeline();
      GenerateOptions options;
      options.sampling = r.sampling;
      options.max_tokens = r.max_tokens;
      auto alone = generate(**timeline, r.prompt, options);
      ASSERT_TRUE(alone.has_value());
      for (const Sampled& s : alone->tokens) expected[j].push_back(to_int(s.id));
    }
  }
  // Kills fall between the start and the end of a run, however slow the machine or the build is.
  int whole_run = 0;
  {
    test::TemporaryFolder folder;
    Heard heard;
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(run_child(folder.path(), -1, heard));
    whole_run = static_cast<int>((std::chrono::steady_clock::now() - start) / std::chrono::milliseconds(1));
  }
  std::mt19937 random(seed);
  int kills = 0, unfinished_kills = 0;
  while (kills < rounds) {
    test::TemporaryFolder folder;
    std::map<int, std::size_t> most;  // tokens of each job that anybody ever heard
    for (bool over = false; !over;) {
      Heard heard;
      const int after = kills < rounds ? static_cast<int>(random() % static_cast<unsigned>(whole_run + 1)) : -1;
      over = run_child(folder.path(), after, heard);
      kills += !over;
      for (const auto& [job, ids] : heard.ids) {
        ASSERT_LE(ids.size(), expected[job].size());
        EXPECT_TRUE(std::equal(ids.begin(), ids.end(), expected[job].begin())) << "job " << job;
        most[job] = std::max(most[job], ids.size());
      }
      if (!over) {
        // What was heard is in some session's log, prompt and answer.
        unfinished_kills += !heard.ids.empty();
        auto store = SessionStore::open(folder.path());
        if (!store) continue;  // killed before the folder was made
        auto list = (*store)->list();
        ASSERT_TRUE(list.has_value()) << list.error().what;
        std::map<std::string, std::size_t> answered;
        for (const SessionSummary& s : *list) {
          auto log = (*store)->read(s.id);
          ASSERT_TRUE(log.has_value()) << log.error().what;
          for (const LoggedJob& job : log->history().jobs())
            answered[job.id] =
                std::max(answered[job.id], static_cast<std::size_t>(log->history().length(job.branch) - job.prompt));
        }
        for (const auto& [job, n] : most)
          EXPECT_GE(answered["job-" + std::string(1, static_cast<char>('a' + job))], n)
              << "an acknowledged token is lost";
        continue;
      }
      for (int j = 0; j < kJobs; ++j) EXPECT_EQ(heard.ids[j], expected[j]) << "job " << j;
    }
  }
  EXPECT_GT(unfinished_kills, 0) << "no kill fell into the generation: the test shows nothing";
}

}  // namespace
}  // namespace hadal
