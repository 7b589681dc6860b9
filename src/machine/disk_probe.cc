#include "machine/disk_probe.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>

#include "base/clock.h"

namespace hadal {
namespace {

constexpr std::int64_t kAlign = 4096;  // what O_DIRECT asks of offsets, sizes and addresses on every common device
constexpr int kInFlight = 8;           // solid-state disks reach their rate with a few large reads at once

class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)) {
    struct stat s = {};
    if (fd_ >= 0 && ::fstat(fd_, &s) == 0) bytes_ = s.st_size;
  }
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  int fd_;
  std::int64_t bytes_ = 0;
};

using Files = std::vector<std::unique_ptr<OpenFile>>;

// Bytes a second, or the errno of a read that failed, negative.
double rate(const Files& files, std::int64_t piece, double seconds, const std::function<bool()>& go_on) {
  std::atomic<std::int64_t> read{0};
  std::atomic<int> failed{0};
  std::atomic<bool> stop{false};
  auto reader = [&](unsigned seed) {
    auto* buffer = static_cast<std::byte*>(std::aligned_alloc(kAlign, static_cast<std::size_t>(piece)));
    if (buffer == nullptr) {
      failed = ENOMEM;
      return;
    }
    std::mt19937_64 random(seed);
    while (!stop.load() && failed.load() == 0) {
      const OpenFile& f = *files[random() % files.size()];
      const auto places = static_cast<std::uint64_t>((f.bytes() - piece) / kAlign + 1);
      const auto at = static_cast<std::int64_t>(random() % places) * kAlign;
      const ssize_t n = ::pread(f.fd(), buffer, static_cast<std::size_t>(piece), at);
      if (n < 0 && errno != EINTR) failed = errno;
      if (n > 0) read += n;
    }
    std::free(buffer);
  };
  Stopwatch watch;
  std::vector<std::thread> readers;
  for (int i = 0; i < kInFlight; ++i) readers.emplace_back(reader, static_cast<unsigned>(i + 1));
  while (watch.seconds() < seconds && failed.load() == 0 && (!go_on || go_on()))
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const double elapsed = watch.seconds();
  const auto bytes = static_cast<double>(read.load());
  stop = true;
  for (std::thread& t : readers) t.join();
  return failed.load() != 0 ? -failed.load() : bytes / elapsed;
}

}  // namespace

Result<std::vector<DiskRate>> probe_disk(const std::vector<std::string>& files, double seconds,
                                         const std::function<bool()>& go_on) {
  constexpr std::int64_t kPieces[] = {std::int64_t{4} << 20, std::int64_t{16} << 20};
  std::vector<DiskRate> rates;
  for (const std::int64_t piece : kPieces) {
    Files open;
    for (const std::string& path : files) {
      auto f = std::make_unique<OpenFile>(path);
      if (f->fd() < 0 && errno == EINVAL)
        return fail(ErrorCode::kUnsupported,
                    "'{}' is on a file system that does not read past the page cache (O_DIRECT); its disk's speed "
                    "cannot be told",
                    path);
      if (f->fd() < 0) return fail(ErrorCode::kIo, "'{}' cannot be read ({})", path, std::strerror(errno));
      if (f->bytes() >= piece) open.push_back(std::move(f));
    }
    if (open.empty()) break;
    const double got = rate(open, piece, seconds, go_on);
    if (got == -EINVAL)
      return fail(ErrorCode::kUnsupported,
                  "the file system of '{}' refuses direct reads; its disk's speed cannot be told", files.front());
    if (got < 0)
      return fail(ErrorCode::kIo, "reading '{}' and its neighbours failed ({})", files.front(),
                  std::strerror(static_cast<int>(-got)));
    if (go_on && !go_on()) return fail(ErrorCode::kCancelled, "stopped while measuring the disk");
    rates.push_back({piece, kInFlight, got});
  }
  if (rates.empty()) return fail(ErrorCode::kNotFound, "no file has {} MiB to measure the disk with", kPieces[0] >> 20);
  return rates;
}

}  // namespace hadal
