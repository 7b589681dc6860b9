#include "files/async_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace hadal {

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

// Ends the reads before their files are closed.
AsyncReader::~AsyncReader() { queue_.reset(); }

Result<int> AsyncReader::open(const MappedFile& map) {
  files_.push_back(HADAL_TRY(SteadyFile::open(map, direct_)));
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
  queue_->start({files_[static_cast<std::size_t>(p.read.file)].descriptor(),
                 p.read.offset + static_cast<std::uint64_t>(from), static_cast<std::uint32_t>(p.read.length - from),
                 p.read.buffer + from, slot});
}

std::optional<AsyncReader::Done> AsyncReader::finished(bool wait) {
  while (const auto done = queue_->finished(wait)) {
    Pending& p = reads_[done->slot];
    const SteadyFile& file = files_[static_cast<std::size_t>(p.read.file)];
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
      out.status = fail(ErrorCode::kIo, "{}: cannot read {} bytes at {}: {}", file.path(), p.read.length, p.read.offset,
                        std::strerror(static_cast<int>(-done->result)));
    else
      out.status = file.check(p.read.needed - p.got);
    free_.push_back(done->slot);
    return out;
  }
  return std::nullopt;
}

}  // namespace hadal
