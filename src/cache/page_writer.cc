#include "cache/page_writer.h"

#include <cstring>
#include <utility>
#include <vector>

#include "base/log.h"
#include "cache/live_parts.h"

namespace hadal {

PageWriter::PageWriter(const PageFolder& folder, const CacheLayout& layout, std::int64_t queue_bytes)
    : folder_(folder), layout_(layout), most_bytes_(queue_bytes), thread_([this] { run(); }) {}

PageWriter::~PageWriter() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void PageWriter::push(Task task) {
  {
    std::lock_guard lock(mutex_);
    queued_ += task.bytes();
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

bool PageWriter::write(CacheFileRef file, PageRef page, PageRef state) {
  // Only this thread adds, so the sum cannot grow between the look and the push.
  if (const std::int64_t queued = queued_bytes(); queued > 0 && queued + file->bytes() > most_bytes_) {
    file->state.store(CacheFile::State::kAbsent, std::memory_order_release);
    refused_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  push({Kind::kWrite, std::move(file), std::move(page), std::move(state)});
  return true;
}

void PageWriter::remove(CacheFileRef file) { push({Kind::kRemove, std::move(file), {}, {}}); }
void PageWriter::touch(CacheFileRef file) { push({Kind::kTouch, std::move(file), {}, {}}); }

void PageWriter::flush() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return tasks_.empty() && !busy_; });
}

std::int64_t PageWriter::queued_bytes() const {
  std::lock_guard lock(mutex_);
  return queued_;
}

void PageWriter::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    {
      const Task task = std::move(tasks_.front());
      tasks_.pop_front();
      busy_ = true;
      lock.unlock();
      switch (task.kind) {
        case Kind::kWrite:
          do_write(task);
          break;
        case Kind::kRemove:
          folder_.remove(task.file->head);
          break;
        case Kind::kTouch:
          folder_.touch(task.file->head);
          break;
      }
      lock.lock();
      queued_ -= task.bytes();
    }  // the task's pages are let go before anybody is told
    busy_ = false;
    if (tasks_.empty()) idle_.notify_all();
  }
}

void PageWriter::do_write(const Task& task) {
  const CacheFileHead& head = task.file->head;
  const auto bytes = static_cast<std::size_t>(head.payload_bytes);
  Status done;
  if (!head.boundary) {
    done = folder_.write(head, {task.page.bytes(), bytes});
  } else {
    std::vector<std::byte> payload(bytes);
    const std::int64_t state = head.has_state ? state_image_bytes(layout_, head.length()) : 0;
    if (state) std::memcpy(payload.data(), task.state.bytes(), static_cast<std::size_t>(state));
    if (task.page)
      pack_rows(layout_, static_cast<Position>(head.ids.size()), task.page.bytes(), payload.data() + state);
    done = folder_.write(head, payload);
  }
  if (done)
    written_.fetch_add(task.file->bytes(), std::memory_order_relaxed);
  else if (!std::exchange(failing_, true))  // a full disk is said once, not for every page
    log_at(LogLevel::kWarn, "{}; kept prefixes do not reach the disk until this is over", done.error().what);
  if (done) failing_ = false;
  task.file->state.store(done ? CacheFile::State::kWritten : CacheFile::State::kAbsent, std::memory_order_release);
}

}  // namespace hadal
