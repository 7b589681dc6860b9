#include "files/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace hadal {
namespace {

// Whether `path` still names the open file: between opening and locking, another writer may have renamed it into place.
bool still_named(int fd, const std::string& path) {
  struct stat open = {}, named = {};
  return ::fstat(fd, &open) == 0 && ::stat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino;
}

// Makes a rename itself durable.
void sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& path, unsigned mode) {
  // Renaming replaces whatever has the name, for root even /dev/null.
  struct stat info = {};
  std::string target = path;
  if (::stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kUsage, "{}: is not a regular file; name a file to write", path);
    if (char* resolved = ::realpath(path.c_str(), nullptr)) {
      target = resolved;
      std::free(resolved);
    }
  }
  AtomicFile file(std::move(target));
  for (;;) {
    // Not truncated before it is ours.
    file.fd_ = ::open(file.partial_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, mode);
    if (file.fd_ < 0) return fail(ErrorCode::kIo, "{}: cannot create: {}", path, std::strerror(errno));
    if (::flock(file.fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(std::exchange(file.fd_, -1));  // not ours to remove
      return fail(ErrorCode::kIo, "{}: another process is writing it", path);
    }
    if (still_named(file.fd_, file.partial_)) break;
    ::close(std::exchange(file.fd_, -1));
  }
  if (::ftruncate(file.fd_, 0) != 0) return fail(ErrorCode::kIo, "{}: cannot write: {}", path, std::strerror(errno));
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : target_(std::move(other.target_)),
      partial_(std::move(other.partial_)),
      fd_(std::exchange(other.fd_, -1)),
      failed_(other.failed_) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::unlink(partial_.c_str());
  ::close(fd_);
}

void AtomicFile::write(const void* data, std::size_t size) {
  const char* p = static_cast<const char*>(data);
  while (size > 0 && failed_ == 0) {
    const ssize_t n = ::write(fd_, p, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      failed_ = n < 0 ? errno : ENOSPC;
      return;
    }
    p += n;
    size -= static_cast<std::size_t>(n);
  }
}

Status AtomicFile::commit() {
  if (failed_ == 0 && ::fsync(fd_) != 0) failed_ = errno;
  if (failed_ == 0 && ::rename(partial_.c_str(), target_.c_str()) != 0) failed_ = errno;
  if (failed_ != 0) return fail(ErrorCode::kIo, "{}: cannot write: {}", target_, std::strerror(failed_));
  ::close(std::exchange(fd_, -1));
  sync_directory_of(target_);
  return {};
}

}  // namespace hadal
