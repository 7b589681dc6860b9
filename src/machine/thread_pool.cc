#include "machine/thread_pool.h"

#include <xmmintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/log.h"
#include "machine/cores.h"

namespace hadal {
namespace {

// How long a worker looks for new work before it sleeps. A decode step leaves gaps of some microseconds between jobs
// and a wake-up costs about 50; anything longer is idleness, and the core may belong to somebody else.
constexpr auto kSpin = std::chrono::microseconds(50);

// Waits until ready() or the spinning time is over; true when ready.
template <class Ready>
bool spin(Ready ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      _mm_pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

}  // namespace

// The gate: bit 0 is set while a job takes workers, bits 1..31 count the workers inside, bits 32.. number the jobs. A
// worker enters by compare-and-swap while the bit is set, so one that wakes too late finds the job closed and never
// sees the next one half set; and run() waits only for those inside, not for workers the system has not scheduled yet.
struct ThreadPool::State {
  static constexpr std::uint64_t kOpen = 1, kInside = 2, kInsideMask = 0xfffffffe, kJob = std::uint64_t{1} << 32;

  std::vector<std::thread> threads;
  std::mutex mutex;
  std::condition_variable wake, done;
  std::atomic<bool> stop{false};

  Task task = nullptr;
  void* context = nullptr;
  std::int64_t count = 0;
  alignas(64) std::atomic<std::uint64_t> gate{0};
  alignas(64) std::atomic<std::int64_t> next{0};

  void work(int worker) {
    for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(context, i, worker);
  }

  // Enters the open job if it is newer than `seen`; `seen` becomes its number.
  bool enter(std::uint64_t& seen) {
    std::uint64_t g = gate.load(std::memory_order_relaxed);
    while ((g & kOpen) != 0 && g / kJob != seen)
      if (gate.compare_exchange_weak(g, g + kInside, std::memory_order_acquire, std::memory_order_relaxed)) {
        seen = g / kJob;
        return true;
      }
    return false;
  }

  void leave() {
    std::uint64_t before = gate.fetch_sub(kInside, std::memory_order_release);
    if ((before & kOpen) != 0 || (before & kInsideMask) != kInside) return;
    std::lock_guard lock(mutex);  // run() looks at the gate under it before it sleeps
    done.notify_one();
  }

  void loop(int worker) {
    FlushDenormals flush;
    std::uint64_t seen = 0;
    for (;;) {
      bool entered = false;
      auto ready = [&] { return stop.load(std::memory_order_relaxed) || (entered = enter(seen)); };
      if (!spin(ready)) {
        std::unique_lock lock(mutex);
        wake.wait(lock, ready);
      }
      if (!entered) return;  // stopped
      work(worker);
      leave();
    }
  }

  void wake_all() {
    {
      std::lock_guard lock(mutex);
    }  // a worker between its check and its sleep is let through first
    wake.notify_all();
  }
};

ThreadPool::ThreadPool(int threads)
    : ThreadPool(threads > 0 ? threads : available_cores(),
                 several_nodes() ? place_threads(machine_topology(), threads > 0 ? threads : available_cores())
                                 : std::vector<ThreadPlace>()) {}

ThreadPool::ThreadPool(int threads, std::vector<ThreadPlace> places) : state_(std::make_unique<State>()) {
  for (std::size_t i = 1; i < static_cast<std::size_t>(threads); ++i) {
    std::optional<ThreadPlace> place;
    if (i < places.size()) place = places[i];
    state_->threads.emplace_back([s = state_.get(), i, place] {
      // A processor taken away meanwhile: slower, not wrong.
      if (place)
        if (const Status pinned = pin_thread(*place); !pinned) log_at(LogLevel::kInfo, "{}", pinned.error().what);
      s->loop(static_cast<int>(i));
    });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_relaxed);
  state_->wake_all();
  for (auto& t : state_->threads) t.join();
}

int ThreadPool::size() const { return static_cast<int>(state_->threads.size()) + 1; }

void ThreadPool::run(std::int64_t count, Task task, void* context) {
  FlushDenormals flush;
  State& s = *state_;
  if (s.threads.empty() || count <= 1) {
    for (std::int64_t i = 0; i < count; ++i) task(context, i, 0);
    return;
  }
  s.task = task;
  s.context = context;
  s.count = count;
  s.next.store(0, std::memory_order_relaxed);
  const std::uint64_t job = s.gate.load(std::memory_order_acquire) / State::kJob + 1;
  s.gate.store(job * State::kJob | State::kOpen, std::memory_order_release);
  s.wake_all();
  s.work(0);
  s.gate.fetch_and(~State::kOpen, std::memory_order_relaxed);
  auto finished = [&] { return (s.gate.load(std::memory_order_acquire) & State::kInsideMask) == 0; };
  if (!spin(finished)) {
    std::unique_lock lock(s.mutex);
    s.done.wait(lock, finished);
  }
}

FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) {
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
}

FlushDenormals::~FlushDenormals() { _mm_setcsr(saved_); }

}  // namespace hadal
