#include "files/async_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace hadal {
namespace {

// A file system may accept O_DIRECT and refuse the first read, for a larger block size say.
bool reads_direct(int fd) {
  const auto align = static_cast<std::size_t>(AsyncReader::kAlign);
  const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(align, align), &std::free);
  return block && ::pread(fd, block.get(), align, 0) >= 0;
}

}  // namespace

Result<std::unique_ptr<AsyncReader>> AsyncReader::create(const ReaderOptions& options) {
  std::unique_ptr<ReadQueue> queue;
  if (options.method != ReadMethod::kThreads) {
    auto ring = make_uring_queue(options.depth);
    if (ring)
      queue = std::move(*ring);
    else if (options.method == ReadMethod::kUring)
      return std::unexpected(ring.error());
  }
  if (!queue) queue = make_thread_queue(options.depth);
  return std::make_unique<AsyncReader>(std::move(queue), options.depth, options.direct);
}

AsyncReader::AsyncReader(std::unique_ptr<ReadQueue> queue, int depth, bool direct)
    : queue_(std::move(queue)), direct_(direct), reads_(static_cast<std::size_t>(depth)) {
  for (int i = depth; i-- > 0;) free_.push_back(static_cast<std::uint32_t>(i));
}

AsyncReader::~AsyncReader() {
  queue_.reset();  // ends the reads before their files are closed
  for (const File& f : files_) ::close(f.fd);
}

Result<int> AsyncReader::open(const MappedFile& map) {
  File file;
  file.path = map.path();
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a pipe under the name must not hang
  if (direct_) file.fd = ::open(file.path.c_str(), kFlags | O_DIRECT);
  file.direct = file.fd >= 0 && reads_direct(file.fd);
  if (!file.direct) {
    if (file.fd >= 0) ::close(file.fd);
    file.fd = ::open(file.path.c_str(), kFlags);
  }
  if (file.fd < 0) return fail(ErrorCode::kIo, "{}: cannot open: {}", file.path, std::strerror(errno));
  struct stat info = {};
  const bool known = ::fstat(file.fd, &info) == 0;
  if (!known || !map.is_file(info.st_dev, info.st_ino) || static_cast<std::uint64_t>(info.st_size) != map.size()) {
    ::close(file.fd);
    return fail(ErrorCode::kIo, "{}: the file was replaced while it was opened; start again", file.path);
  }
  file.size = map.size();
  file.modified_seconds = info.st_mtim.tv_sec;
  file.modified_nanoseconds = info.st_mtim.tv_nsec;
  files_.push_back(std::move(file));
  return static_cast<int>(files_.size()) - 1;
}

void AsyncReader::start(const Read& read) {
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  reads_[slot] = {read, 0};
  submit(slot);
}

// What is left of a read that came in part; direct reads begin at a multiple of kAlign again.
std::int64_t AsyncReader::resume_at(const Pending& pending) const {
  return direct(pending.read.file) ? pending.got / kAlign * kAlign : pending.got;
}

void AsyncReader::submit(std::uint32_t slot) {
  const Pending& p = reads_[slot];
  const std::int64_t from = resume_at(p);
  queue_->start({files_[static_cast<std::size_t>(p.read.file)].fd, p.read.offset + static_cast<std::uint64_t>(from),
                 static_cast<std::uint32_t>(p.read.length - from), p.read.buffer + from, slot});
}

// The file is still as it was opened, and `missing` bytes, none, did not come. A file cut off and grown again reads as
// zeros, which are valid weights.
Status AsyncReader::check(const File& file, std::int64_t missing) const {
  struct stat info = {};
  if (::fstat(file.fd, &info) != 0) return fail(ErrorCode::kIo, "{}: cannot stat: {}", file.path, std::strerror(errno));
  if (static_cast<std::uint64_t>(info.st_size) < file.size || missing > 0)
    return fail(ErrorCode::kIo,
                "{}: the file has become shorter since it was opened ({} bytes then, {} now); restore it", file.path,
                file.size, info.st_size);
  if (info.st_mtim.tv_sec != file.modified_seconds || info.st_mtim.tv_nsec != file.modified_nanoseconds)
    return fail(ErrorCode::kIo, "{}: the file was written to since it was opened; start again", file.path);
  return {};
}

std::optional<AsyncReader::Done> AsyncReader::finished(bool wait) {
  while (const auto done = queue_->finished(wait)) {
    Pending& p = reads_[done->slot];
    const File& file = files_[static_cast<std::size_t>(p.read.file)];
    // EINTR, EAGAIN and ECANCELED (the thread that began the read has ended) say nothing about the disk.
    const bool again = done->result == -EINTR || done->result == -EAGAIN || done->result == -ECANCELED;
    const std::int64_t before = p.got;
    if (done->result > 0) p.got = resume_at(p) + done->result;
    if (again || (p.got > before && p.got < p.read.needed)) {
      submit(done->slot);
      continue;
    }
    Done out{p.read.tag, p.read.length, {}};
    if (done->result < 0)
      out.status = fail(ErrorCode::kIo, "{}: cannot read {} bytes at {}: {}", file.path, p.read.length, p.read.offset,
                        std::strerror(static_cast<int>(-done->result)));
    else
      out.status = check(file, p.read.needed - p.got);
    free_.push_back(done->slot);
    return out;
  }
  return std::nullopt;
}

}  // namespace hadal
