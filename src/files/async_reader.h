// Reading parts of large files while computing: several reads in flight, past the page cache where the file system
// allows it (O_DIRECT), into the caller's memory and never through a mapping. What goes wrong is an error that names
// the file: a disk that fails, a file that has become shorter or was written to since it was opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "files/mapped_file.h"
#include "files/read_queue.h"
#include "files/steady_file.h"

namespace hadal {

enum class ReadMethod : std::uint8_t { kAuto, kUring, kThreads };  // kAuto: io_uring, threads where it is refused

struct ReaderOptions {
  ReadMethod method = ReadMethod::kAuto;
  // A virtual NVMe disk gave 0.68, 1.33 and 2.03 GB/s for random 4 MiB reads with 1, 4 and 16 in flight.
  int depth = 16;
  bool direct = true;  // false: through the page cache
};

// One caller at a time, but not always the same thread.
class AsyncReader {
 public:
  // Offsets, lengths and buffers of direct reads are multiples of this: the block size of the disks there are.
  static constexpr std::int64_t kAlign = SteadyFile::kAlign;

  // kUnsupported when io_uring was asked for by name and is not there.
  static Result<std::unique_ptr<AsyncReader>> create(const ReaderOptions& options);
  AsyncReader(std::unique_ptr<ReadQueue> queue, int depth, bool direct);
  ~AsyncReader();
  AsyncReader(const AsyncReader&) = delete;
  AsyncReader& operator=(const AsyncReader&) = delete;

  // Opens the file that `map` shows once more, for reads; gives its number. kIo when it cannot be opened or another one
  // has taken its place.
  Result<int> open(const MappedFile& map);

  struct Read {
    int file = 0;
    std::uint64_t offset = 0;     // multiples of kAlign
    std::int64_t length = 0;      //
    std::int64_t needed = 0;      // bytes that must come; the rest may lie beyond the end of the file
    std::byte* buffer = nullptr;  // `length` bytes, aligned to kAlign, untouched until the read is done
    std::uint64_t tag = 0;
  };
  struct Done {
    std::uint64_t tag = 0;
    std::int64_t length = 0;
    Status status;
  };
  bool has_room() const { return !free_.empty(); }
  int unfinished() const { return static_cast<int>(reads_.size() - free_.size()); }
  void start(const Read& read);  // has_room() must hold
  // One finished read, in any order. With `wait`, blocks; nothing only if none is unfinished (or none is finished).
  std::optional<Done> finished(bool wait);

  const char* method() const { return queue_->name(); }
  bool direct(int file) const { return files_[static_cast<std::size_t>(file)].direct(); }

 private:
  struct Pending {
    Read read;
    std::int64_t got = 0;
  };
  std::int64_t resume_at(const Pending& pending) const;
  void submit(std::uint32_t slot);

  std::unique_ptr<ReadQueue> queue_;
  bool direct_;
  std::vector<SteadyFile> files_;
  std::vector<Pending> reads_;
  std::vector<std::uint32_t> free_;  // entries of reads_
};

}  // namespace hadal
