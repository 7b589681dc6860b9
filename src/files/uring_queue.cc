#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <deque>

#include "files/read_queue.h"

namespace hadal {
namespace {

class UringQueue final : public ReadQueue {
 public:
  ~UringQueue() override {
    if (!open_) return;
    while (finished(true)) {
    }
    io_uring_queue_exit(&ring_);
  }

  int open(int depth) {
    const int failed = io_uring_queue_init(static_cast<unsigned>(depth), &ring_, 0);
    open_ = failed == 0;
    return failed;
  }

  void start(const RawRead& read) override {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (!entry) {  // full of entries that the kernel did not take
      refused_.push_back({read.slot, -EBUSY});
      return;
    }
    io_uring_prep_read(entry, read.fd, read.buffer, read.length, read.offset);
    io_uring_sqe_set_data64(entry, read.slot);
    int taken = 0;
    do {
      taken = io_uring_submit(&ring_);
    } while (taken == -EINTR || taken == -EAGAIN || taken == -EBUSY);
    if (taken >= 0) {
      ++unfinished_;
      return;
    }
    // The entry stays in the ring and would go with the next one, into memory that is somebody else's by then.
    io_uring_prep_nop(entry);
    io_uring_sqe_set_data64(entry, kNobody);
    refused_.push_back({read.slot, taken});
  }

  std::optional<RawDone> finished(bool wait) override {
    if (!refused_.empty()) {
      const RawDone done = refused_.front();
      refused_.pop_front();
      return done;
    }
    while (unfinished_ > 0) {
      io_uring_cqe* entry = nullptr;
      const int failed = wait ? io_uring_wait_cqe(&ring_, &entry) : io_uring_peek_cqe(&ring_, &entry);
      if (failed == -EINTR || (wait && failed == -EAGAIN)) continue;
      if (failed != 0 || !entry) return std::nullopt;
      const std::uint64_t slot = io_uring_cqe_get_data64(entry);
      const std::int64_t result = entry->res;
      io_uring_cqe_seen(&ring_, entry);
      if (slot == kNobody) continue;
      --unfinished_;
      return RawDone{static_cast<std::uint32_t>(slot), result};
    }
    return std::nullopt;
  }

  const char* name() const override { return "io_uring"; }

 private:
  static constexpr std::uint64_t kNobody = ~std::uint64_t{0};
  io_uring ring_ = {};
  bool open_ = false;
  int unfinished_ = 0;
  std::deque<RawDone> refused_;
};

}  // namespace

Result<std::unique_ptr<ReadQueue>> make_uring_queue(int depth) {
  auto queue = std::make_unique<UringQueue>();
  if (const int failed = queue->open(depth); failed != 0)
    return fail(ErrorCode::kUnsupported, "io_uring is not available here: {}", std::strerror(-failed));
  return queue;
}

}  // namespace hadal
