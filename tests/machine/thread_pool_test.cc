#include "machine/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <time.h>
#include <xmmintrin.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "machine/cores.h"
#include "machine/probe.h"

namespace hadal {
namespace {

// Every index exactly once, for many jobs in a row: short jobs catch workers that arrive late for the last one.
TEST(ThreadPool, EveryIndexOnce) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int job = 0; job < 400; ++job) {
      const int count = job % 37;
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
      std::atomic<bool> bad_worker{false};
      pool.for_each(count, [&](std::int64_t i, int worker) {
        if (worker < 0 || worker >= threads) bad_worker = true;
        seen[static_cast<std::size_t>(i)].fetch_add(1);
      });
      EXPECT_FALSE(bad_worker);
      for (auto& n : seen) ASSERT_EQ(n.load(), 1) << "threads " << threads << " job " << job;
    }
  }
}

// What a job wrote is visible to the caller without atomics, and the next job may reuse it.
TEST(ThreadPool, ResultsAreVisible) {
  ThreadPool pool(3);
  std::vector<std::int64_t> data(1000);
  for (int job = 1; job <= 50; ++job) {
    pool.for_each(1000, [&](std::int64_t i, int) { data[static_cast<std::size_t>(i)] += i * job; });
    std::int64_t factor = job * (job + 1) / 2;
    for (std::int64_t i = 0; i < 1000; ++i) ASSERT_EQ(data[static_cast<std::size_t>(i)], i * factor);
  }
}

// A worker is never used by two indices at once: per-worker scratch needs no lock.
TEST(ThreadPool, WorkersDoNotOverlap) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  std::atomic<bool> overlap{false};
  pool.for_each(2000, [&](std::int64_t, int worker) {
    auto& n = inside[static_cast<std::size_t>(worker)];
    if (n.fetch_add(1) != 0) overlap = true;
    n.fetch_sub(1);
  });
  EXPECT_FALSE(overlap);
}

TEST(ThreadPool, FlushesDenormalsInsideAndRestoresOutside) {
  const unsigned before = _mm_getcsr();
  ThreadPool pool(2);
  std::atomic<int> flushed{0};
  pool.for_each(64, [&](std::int64_t, int) {
    volatile float tiny = 1e-38f;
    volatile float product = tiny * 0.01f;
    if (product == 0 && (_mm_getcsr() & 0x8040) == 0x8040) flushed.fetch_add(1);
  });
  EXPECT_EQ(flushed.load(), 64);
  EXPECT_EQ(_mm_getcsr() & ~0x3fu, before & ~0x3fu);  // sticky exception flags aside
}

// An idle pool must not burn the cores it shares: its workers sleep soon after the last job.
TEST(ThreadPool, SleepsWhenIdle) {
  ThreadPool pool(3);
  pool.for_each(3, [](std::int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  auto process_cpu = [] {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  const double begin = process_cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(process_cpu() - begin, 0.02);
}

TEST(ThreadPool, DefaultSizeIsWhatMayBeUsed) {
  ThreadPool pool(0);
  EXPECT_EQ(pool.size(), available_cores());
  EXPECT_GE(pool.size(), 1);
}

TEST(ThreadPool, WorkersStayWhereTheyArePlaced) {
  const auto places = place_threads(machine_topology(), 3);
  ThreadPool pool(3, places);
  std::array<std::atomic<int>, 3> wrong{}, seen{};
  // Until each has come to work at least once.
  for (int round = 0; round < 10000 && (seen[1] == 0 || seen[2] == 0); ++round)
    pool.for_each(30, [&](std::int64_t, int worker) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      const auto w = static_cast<std::size_t>(worker);
      if (++seen[w] > 1 || worker == 0) return;  // the caller's thread is its own
      cpu_set_t set;
      CPU_ZERO(&set);
      sched_getaffinity(0, sizeof set, &set);
      if (CPU_COUNT(&set) != 1 || !CPU_ISSET(static_cast<std::size_t>(places[w].cpu), &set)) ++wrong[w];
    });
  EXPECT_GT(seen[1], 0);
  EXPECT_GT(seen[2], 0);
  for (const auto& w : wrong) EXPECT_EQ(w.load(), 0);
}

}  // namespace
}  // namespace hadal
