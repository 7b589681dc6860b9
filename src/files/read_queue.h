// Reads that run while the caller goes on: io_uring, or threads that call pread. The two differ in speed only.
// files/async_reader.h is what the rest of hadal uses; this seam is where tests put disks that fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/result.h"

namespace hadal {

struct RawRead {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  std::byte* buffer = nullptr;  // the caller's until the read is finished
  std::uint32_t slot = 0;       // comes back with the result
};

struct RawDone {
  std::uint32_t slot = 0;
  std::int64_t result = 0;  // bytes read, perhaps fewer than asked for; or -errno
};

class ReadQueue {
 public:
  virtual ~ReadQueue() = default;  // waits for everything unfinished: buffers are then the caller's again
  // Begins a read. At most the depth given at construction may be unfinished.
  virtual void start(const RawRead& read) = 0;
  // One finished read, in any order. With `wait`, blocks until there is one; nothing only if none is unfinished.
  virtual std::optional<RawDone> finished(bool wait) = 0;
  virtual const char* name() const = 0;
};

// kUnsupported when the kernel has no io_uring or does not let this process use it.
Result<std::unique_ptr<ReadQueue>> make_uring_queue(int depth);
std::unique_ptr<ReadQueue> make_thread_queue(int depth);

}  // namespace hadal
