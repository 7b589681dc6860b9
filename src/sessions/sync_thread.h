// When appended bytes go from the operating system to the disk, and a thread that sends them there so that no appender
// waits for it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace hadal {

// An open file. The descriptor is closed with the last reference.
struct SyncTarget {
  explicit SyncTarget(int descriptor) : fd(descriptor) {}
  ~SyncTarget();
  SyncTarget(const SyncTarget&) = delete;
  SyncTarget& operator=(const SyncTarget&) = delete;
  int sync();  // errno, kept: once lost, bytes may never reach the disk although a later call succeeds

  const int fd;
  std::atomic<bool> dirty{false};
  std::atomic<int> error{0};
};

// Syncs every dirty target once an interval. Targets that nobody else holds are forgotten.
class SyncThread {
 public:
  explicit SyncThread(std::chrono::milliseconds every);
  ~SyncThread();
  void add(const std::shared_ptr<SyncTarget>& target);

 private:
  void run(std::chrono::milliseconds every);
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::weak_ptr<SyncTarget>> targets_;
  bool ending_ = false;
  std::thread thread_;
};

// A power cut costs at most what was appended since the last sync; the death of the process costs nothing in any mode.
struct SyncPolicy {
  enum class Mode { kEveryWrite, kInterval, kNever };
  Mode mode = Mode::kInterval;
  std::chrono::milliseconds every{50};      // kInterval
  std::shared_ptr<SyncThread> thread = {};  // kInterval: who syncs; null: a write that finds the interval over
};

}  // namespace hadal
