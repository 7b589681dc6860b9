#include "files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace hadal {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a pipe somebody left under the name must not hang.
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return fail(ErrorCode::kNotFound, "{}: no such file", path);
    return fail(ErrorCode::kIo, "{}: cannot open: {}", path, std::strerror(errno));
  }
  struct stat info = {};
  if (::fstat(file.fd, &info) != 0) return fail(ErrorCode::kIo, "{}: cannot stat: {}", path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) return fail(ErrorCode::kBadInput, "{}: is a directory, expected a file", path);
  if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kBadInput, "{}: is not a regular file", path);

  MappedFile map;
  map.path_ = path;
  map.size_ = static_cast<std::size_t>(info.st_size);
  map.device_ = info.st_dev;
  map.inode_ = info.st_ino;
  if (map.size_ == 0) return map;  // mmap refuses length 0
  void* data = ::mmap(nullptr, map.size_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) {
    map.size_ = 0;
    return fail(ErrorCode::kIo, "{}: cannot map {} bytes: {}", path, info.st_size, std::strerror(errno));
  }
  map.data_ = static_cast<const std::byte*>(data);
  return map;
}

MappedFile MappedFile::view(std::string path, Bytes bytes) {
  MappedFile map;
  map.path_ = std::move(path);
  map.data_ = bytes.data();
  map.size_ = bytes.size();
  map.owned_ = false;
  return map;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(device_, other.device_);
  std::swap(inode_, other.inode_);
  std::swap(owned_, other.owned_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ && owned_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::advise(AccessHint hint, std::uint64_t offset, std::uint64_t length) const {
  if (!data_ || !owned_ || offset >= size_) return;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = offset / page * page;
  const std::uint64_t end = offset + std::min<std::uint64_t>(length, size_ - offset);
  int advice = MADV_NORMAL;
  switch (hint) {
    case AccessHint::kSequential:
      advice = MADV_SEQUENTIAL;
      break;
    case AccessHint::kRandom:
      advice = MADV_RANDOM;
      break;
    case AccessHint::kWillNeed:
      advice = MADV_WILLNEED;
      break;
    case AccessHint::kDontNeed:
      advice = MADV_DONTNEED;
      break;
    case AccessHint::kHugePages:
      advice = MADV_HUGEPAGE;
      break;
  }
  (void)::madvise(const_cast<std::byte*>(data_) + begin, end - begin, advice);
}

}  // namespace hadal
