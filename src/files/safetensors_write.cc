// Writing the container to disk; the format itself is in safetensors.cc.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "files/safetensors.h"

namespace hadal {
namespace {

bool write_all(int fd, const void* data, std::size_t size) {
  const char* p = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd, p, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

Status SafetensorsWriter::write(const std::string& path) const {
  // Renaming replaces whatever has the name, for root even /dev/null; only a file, or the file a link names, may go.
  struct stat info = {};
  std::string target = path;
  if (::stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kUsage, "{}: is not a regular file; name a file to write", path);
    if (char* resolved = ::realpath(path.c_str(), nullptr)) {
      target = resolved;
      std::free(resolved);
    }
  }
  const std::string temporary = fmt::format("{}.{}.partial", target, ::getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return fail(ErrorCode::kIo, "{}: cannot create: {}", path, std::strerror(errno));
  const std::string head = header();
  bool ok = write_all(fd, head.data(), head.size());
  for (const auto& e : entries_) ok = ok && write_all(fd, e.data.data(), e.data.size());
  ok = ::close(fd) == 0 && ok;
  if (!ok || ::rename(temporary.c_str(), target.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary.c_str());
    return fail(ErrorCode::kIo, "{}: cannot write: {}", path, std::strerror(reason));
  }
  return {};
}

}  // namespace hadal
