#include "files/steady_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

namespace hadal {
namespace {

// A file system may accept O_DIRECT and refuse the first read, for a larger block size say.
bool reads_direct(int fd) {
  const auto align = static_cast<std::size_t>(SteadyFile::kAlign);
  const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(align, align), &std::free);
  return block && ::pread(fd, block.get(), align, 0) >= 0;
}

}  // namespace

SteadyFile::SteadyFile(SteadyFile&& other) noexcept { *this = std::move(other); }

SteadyFile& SteadyFile::operator=(SteadyFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  direct_ = other.direct_;
  size_ = other.size_;
  modified_seconds_ = other.modified_seconds_;
  modified_nanoseconds_ = other.modified_nanoseconds_;
  return *this;
}

SteadyFile::~SteadyFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<SteadyFile> SteadyFile::open(const MappedFile& map, bool direct) {
  SteadyFile file;
  file.path_ = map.path();
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a pipe under the name must not hang
  if (direct) file.fd_ = ::open(file.path_.c_str(), kFlags | O_DIRECT);
  file.direct_ = file.fd_ >= 0 && reads_direct(file.fd_);
  if (!file.direct_) {
    if (file.fd_ >= 0) ::close(file.fd_);
    file.fd_ = ::open(file.path_.c_str(), kFlags);
  }
  if (file.fd_ < 0) return fail(ErrorCode::kIo, "{}: cannot open: {}", file.path_, std::strerror(errno));
  struct stat info = {};
  const bool known = ::fstat(file.fd_, &info) == 0;
  if (!known || !map.is_file(info.st_dev, info.st_ino) || static_cast<std::uint64_t>(info.st_size) != map.size())
    return fail(ErrorCode::kIo, "{}: the file was replaced while it was opened; start again", file.path_);
  file.size_ = map.size();
  file.modified_seconds_ = info.st_mtim.tv_sec;
  file.modified_nanoseconds_ = info.st_mtim.tv_nsec;
  return file;
}

// A file cut off and grown again reads as zeros, which are valid weights; its time of modification tells.
Status SteadyFile::check(std::int64_t missing) const {
  struct stat info = {};
  if (::fstat(fd_, &info) != 0) return fail(ErrorCode::kIo, "{}: cannot stat: {}", path_, std::strerror(errno));
  if (static_cast<std::uint64_t>(info.st_size) < size_ || missing > 0)
    return fail(ErrorCode::kIo,
                "{}: the file has become shorter since it was opened ({} bytes then, {} now); restore it", path_, size_,
                info.st_size);
  if (info.st_mtim.tv_sec != modified_seconds_ || info.st_mtim.tv_nsec != modified_nanoseconds_)
    return fail(ErrorCode::kIo, "{}: the file was written to since it was opened; start again", path_);
  return {};
}

Status SteadyFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return fail(ErrorCode::kIo, "{}: cannot read {} bytes at {}: {}", path_, out.size(), offset,
                  std::strerror(errno));
    if (got == 0) break;
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return check(static_cast<std::int64_t>(out.size()));
}

}  // namespace hadal
