#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "files/read_queue.h"

namespace hadal {
namespace {

// As many threads as reads may be unfinished: each only waits for the disk.
class ThreadQueue final : public ReadQueue {
 public:
  explicit ThreadQueue(int depth) {
    for (int i = 0; i < depth; ++i) threads_.emplace_back([this] { work(); });
  }
  ~ThreadQueue() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : threads_) t.join();  // a thread leaves only when no read is left
  }

  void start(const RawRead& read) override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(read);
      ++unfinished_;
    }
    wake_.notify_one();
  }

  std::optional<RawDone> finished(bool wait) override {
    std::unique_lock lock(mutex_);
    if (unfinished_ == 0) return std::nullopt;
    if (wait) done_some_.wait(lock, [this] { return !done_.empty(); });
    if (done_.empty()) return std::nullopt;
    const RawDone done = done_.front();
    done_.pop_front();
    --unfinished_;
    return done;
  }

  const char* name() const override { return "pread"; }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const RawRead read = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      const ssize_t got = ::pread(read.fd, read.buffer, read.length, static_cast<off_t>(read.offset));
      const std::int64_t result = got < 0 ? -errno : got;
      lock.lock();
      done_.push_back({read.slot, result});
      done_some_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_some_;
  std::deque<RawRead> waiting_;
  std::deque<RawDone> done_;
  int unfinished_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<ReadQueue> make_thread_queue(int depth) { return std::make_unique<ThreadQueue>(depth); }

}  // namespace hadal
