// Writes pages and boundaries to a PageFolder on a thread of its own, in the order they were given. What does not fit
// the queue is not written: the engine never waits for a disk, and the next keep() of the same prefix offers it again.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "cache/page.h"
#include "cache/page_files.h"

namespace hadal {

// A file as the store sees it. Shared with the writer; only `state` changes.
struct CacheFile {
  enum class State : std::uint8_t { kQueued, kWritten, kAbsent };  // absent: not written, or lost
  CacheFileHead head;
  std::atomic<State> state{State::kQueued};

  std::int64_t bytes() const { return head.payload_offset + head.payload_bytes; }
};
using CacheFileRef = std::shared_ptr<CacheFile>;

class PageWriter {
 public:
  PageWriter(const PageFolder& folder, const CacheLayout& layout, std::int64_t queue_bytes);
  ~PageWriter();  // writes what is queued
  PageWriter(const PageWriter&) = delete;
  PageWriter& operator=(const PageWriter&) = delete;

  // Queues `file` (state kQueued). `page` is the page or, for a boundary, the page its rows are taken from (may be
  // null); `state` its state image, null without. False, and kAbsent, when the queue is full.
  bool write(CacheFileRef file, PageRef page, PageRef state);
  void remove(CacheFileRef file);
  void touch(CacheFileRef file);
  void flush();  // returns when everything queued so far is done

  std::int64_t queued_bytes() const;
  std::int64_t written_bytes() const { return written_.load(std::memory_order_relaxed); }
  std::int64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  enum class Kind : std::uint8_t { kWrite, kRemove, kTouch };
  struct Task {
    Kind kind;
    CacheFileRef file;
    PageRef page, state;
    std::int64_t bytes() const { return kind == Kind::kWrite ? file->bytes() : 0; }
  };
  void push(Task task);
  void run();
  void do_write(const Task& task);

  const PageFolder& folder_;
  const CacheLayout layout_;
  const std::int64_t most_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<Task> tasks_;
  std::int64_t queued_ = 0;  // bytes, the task in work included
  bool busy_ = false, stop_ = false;
  bool failing_ = false;  // writer thread only: the last write failed
  std::atomic<std::int64_t> written_{0}, refused_{0};
  std::thread thread_;
};

}  // namespace hadal
