#include "sessions/sync_thread.h"

#include <unistd.h>

#include <cerrno>

namespace hadal {

SyncTarget::~SyncTarget() {
  if (fd >= 0) ::close(fd);
}

int SyncTarget::sync() {
  // Cleared first: bytes written while fdatasync runs may not be in it.
  if (dirty.exchange(false) && ::fdatasync(fd) != 0) {
    int none = 0;
    error.compare_exchange_strong(none, errno);
  }
  return error.load();
}

SyncThread::SyncThread(std::chrono::milliseconds every) : thread_([this, every] { run(every); }) {}

SyncThread::~SyncThread() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void SyncThread::add(const std::shared_ptr<SyncTarget>& target) {
  const std::lock_guard lock(mutex_);
  targets_.push_back(target);
}

void SyncThread::run(std::chrono::milliseconds every) {
  std::vector<std::shared_ptr<SyncTarget>> due;
  std::unique_lock lock(mutex_);
  while (!ending_) {
    wake_.wait_for(lock, every, [this] { return ending_; });
    std::erase_if(targets_, [](const auto& t) { return t.expired(); });
    for (const auto& weak : targets_)
      if (auto target = weak.lock(); target && target->dirty.load()) due.push_back(std::move(target));
    lock.unlock();  // a disk may take seconds; adding must not wait for it
    for (const auto& target : due) target->sync();
    due.clear();
    lock.lock();
  }
}

}  // namespace hadal
