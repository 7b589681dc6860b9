#include "sessions/record_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "sessions/record_reader.h"

namespace hadal {
namespace {

Status write_at(int fd, const std::byte* data, std::size_t size, std::int64_t offset) {
  while (size > 0) {
    const ssize_t n = ::pwrite(fd, data, size, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(ErrorCode::kIo, "{}", std::strerror(n < 0 ? errno : ENOSPC));
    data += n;
    size -= static_cast<std::size_t>(n);
    offset += n;
  }
  return {};
}

void sync_folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

// Whether `path` still names the open file: another process may have put a new one in its place before we locked.
bool still_named(int fd, const std::string& path) {
  struct stat open = {}, named = {};
  return ::fstat(fd, &open) == 0 && ::stat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino;
}

Result<std::shared_ptr<SyncTarget>> open_locked(const std::string& path, const char* name, bool append) {
  for (;;) {
    // Not blocking: a pipe of that name would wait for a writer.
    auto target =
        std::make_shared<SyncTarget>(::open(path.c_str(), (append ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK));
    if (target->fd < 0)
      return fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
    struct stat info = {};
    if (::fstat(target->fd, &info) != 0 || !S_ISREG(info.st_mode))
      return fail(ErrorCode::kBadInput, "{}: is not a regular file, so not a {}", path, name);
    if (!append) return target;
    if (::flock(target->fd, LOCK_EX | LOCK_NB) != 0)
      return fail(
          errno == EWOULDBLOCK ? ErrorCode::kBusy : ErrorCode::kIo, "{}: {}", path,
          errno == EWOULDBLOCK ? "another process is appending to it; end that one first" : std::strerror(errno));
    if (still_named(target->fd, path)) return target;
  }
}

}  // namespace

Result<RecordFile> RecordFile::create(const std::string& path, const RecordFileKind& kind, Bytes content,
                                      const SyncPolicy& sync) {
  if (content.size() > kMostHeaderContent)
    return fail(ErrorCode::kUsage, "{}: a header of {} bytes is more than {}", path, content.size(),
                kMostHeaderContent);
  RecordFile file;
  file.path_ = path + ".partial";
  file.name_ = kind.name;
  file.sync_ = sync;
  file.writable_ = true;
  file.target_ = std::make_shared<SyncTarget>(::open(file.path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const int fd = file.target_->fd;
  if (fd < 0) return fail(ErrorCode::kIo, "{}: cannot create: {}", path, std::strerror(errno));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || !still_named(fd, file.path_))
    return fail(ErrorCode::kBusy, "{}: another process is making it", path);
  if (::ftruncate(fd, 0) != 0) return fail(ErrorCode::kIo, "{}: cannot write: {}", path, std::strerror(errno));

  const std::vector<std::byte> head = encode_header(kind, content, file.chain_);
  if (Status s = write_at(fd, head.data(), head.size(), 0); !s)
    return fail(ErrorCode::kIo, "{}: cannot write: {}", path, s.error().what);
  file.begin_ = file.size_ = static_cast<std::int64_t>(head.size());
  if (sync.mode != SyncPolicy::Mode::kNever && ::fsync(fd) != 0)
    return fail(ErrorCode::kIo, "{}: cannot write: {}", path, std::strerror(errno));
  // The name appears with the complete header, and never takes the place of another file.
  if (Status s = file.rename(path, false); !s) {
    ::unlink(file.path_.c_str());
    return std::unexpected(s.error());
  }
  if (sync.thread && sync.mode == SyncPolicy::Mode::kInterval) sync.thread->add(file.target_);
  return file;
}

Result<RecordFile> RecordFile::open(const std::string& path, const RecordFileKind& kind, Access access,
                                    const SyncPolicy& sync, const OnHeader& on_header, const OnRecord& on_record) {
  RecordFile file;
  file.path_ = path;
  file.name_ = kind.name;
  file.sync_ = sync;
  file.writable_ = access == Access::kAppend;
  file.target_ = HADAL_TRY(open_locked(path, kind.name, file.writable_));
  RecordReader reader(file.target_->fd, path, kind.name);
  HADAL_CHECK_OK(reader.start(kind, on_header));
  file.begin_ = reader.offset();
  while (!reader.at_end()) {
    const Record* record = HADAL_TRY(reader.next());
    if (!record) break;
    if (Status s = on_record(*record); !s)
      return fail(s.error().code, "{}: the record at byte {}: {}", path, record->offset, s.error().what);
  }
  file.size_ = reader.offset();
  file.chain_ = reader.chain();
  file.cut_bytes_ = reader.file_size() - reader.offset();
  if (file.cut_bytes_ > 0) {
    if (access != Access::kIntact) HADAL_CHECK_OK(reader.check_tail());
    const bool synced = sync.mode != SyncPolicy::Mode::kNever;
    if (file.writable_ &&
        (::ftruncate(file.target_->fd, file.size_) != 0 || (synced && ::fdatasync(file.target_->fd) != 0)))
      return fail(ErrorCode::kIo, "{}: cannot cut its torn end: {}", path, std::strerror(errno));
  }
  if (file.writable_ && sync.thread && sync.mode == SyncPolicy::Mode::kInterval) sync.thread->add(file.target_);
  return file;
}

Status RecordFile::read_header(const std::string& path, const RecordFileKind& kind, const OnHeader& on_header) {
  const auto target = HADAL_TRY(open_locked(path, kind.name, false));
  return RecordReader(target->fd, path, kind.name).start(kind, on_header);
}

std::byte* RecordFile::stage(std::uint16_t type, std::size_t bytes) {
  seal();
  unsealed_ = staged_.size();
  const std::size_t padded = static_cast<std::size_t>(round_up(static_cast<std::int64_t>(bytes), 4));
  staged_.resize(unsealed_ + kRecordHead + padded + kRecordSum);
  const RecordHead head{static_cast<std::uint32_t>(bytes), type, 0};
  std::memcpy(staged_.data() + unsealed_, &head, sizeof head);
  return staged_.data() + unsealed_ + kRecordHead;
}

void RecordFile::stage(std::uint16_t type, Bytes payload) {
  std::byte* to = stage(type, payload.size());
  if (!payload.empty()) std::memcpy(to, payload.data(), payload.size());
}

void RecordFile::seal() {
  if (unsealed_ == kNone) return;
  const std::size_t summed = staged_.size() - unsealed_ - kRecordSum;
  chain_ = XXH3_64bits_withSeed(staged_.data() + unsealed_, summed, chain_);
  std::memcpy(staged_.data() + staged_.size() - kRecordSum, &chain_, kRecordSum);
  unsealed_ = kNone;
}

Status RecordFile::broken() const {
  return fail(ErrorCode::kIo, "{}: an earlier write failed; open the {} again to continue", path_, name_);
}

Status RecordFile::write() {
  if (!writable_) return fail(ErrorCode::kUsage, "{}: was opened for reading", path_);
  if (failed_) return broken();
  seal();
  if (staged_.empty()) return {};
  if (Status s = write_at(target_->fd, staged_.data(), staged_.size(), size_); !s) {
    failed_ = true;
    (void)!::ftruncate(target_->fd, size_);  // should this fail too, opening cuts what is torn
    return fail(ErrorCode::kIo, "{}: cannot append: {}", path_, s.error().what);
  }
  size_ += static_cast<std::int64_t>(staged_.size());
  constexpr std::size_t kKept = 1 << 16;  // a decode step needs 36 bytes; a long prompt's buffer is given back
  if (staged_.capacity() > kKept) staged_ = {};
  staged_.clear();
  target_->dirty.store(true);
  if (sync_.mode == SyncPolicy::Mode::kEveryWrite) return sync();
  if (sync_.mode != SyncPolicy::Mode::kInterval) return {};
  if (sync_.thread) {
    if (target_->error.load() != 0) return sync();
    return {};
  }
  const auto now = std::chrono::steady_clock::now();
  if (now - last_sync_ < sync_.every) return {};
  last_sync_ = now;
  return sync();
}

Status RecordFile::sync() {
  if (!writable_) return {};
  if (failed_) return broken();
  if (const int error = target_->sync(); error != 0) {
    failed_ = true;
    return fail(ErrorCode::kIo, "{}: cannot bring it to the disk: {}", path_, std::strerror(error));
  }
  return {};
}

RecordFile::~RecordFile() {
  if (!target_ || !writable_) return;
  if (!failed_ && sync_.mode != SyncPolicy::Mode::kNever) target_->sync();
  // Not when the descriptor closes: a sync that is running holds that open, and the next writer must not be refused.
  ::flock(target_->fd, LOCK_UN);
}

Status RecordFile::read(std::int64_t offset, const std::function<Result<bool>(const Record&)>& on_record) const {
  RecordReader reader(target_->fd, path_, name_);
  HADAL_CHECK_OK(reader.start_at(offset, size_));
  while (!reader.at_end()) {
    const Record* record = HADAL_TRY(reader.next());
    if (!record)
      return fail(ErrorCode::kBadInput, "{}: the record at byte {} changed since the {} was opened", path_,
                  reader.offset(), name_);
    if (!HADAL_TRY(on_record(*record))) break;
  }
  return {};
}

Status RecordFile::rename(const std::string& to, bool replace) {
  const unsigned flags = replace ? 0 : RENAME_NOREPLACE;
  int error = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
  if (error == EINVAL || error == ENOSYS) {
    // A file system that cannot do both at once; whoever makes `to` has locked the name it is made under.
    struct stat info = {};
    error = !replace && ::stat(to.c_str(), &info) == 0    ? EEXIST
            : std::rename(path_.c_str(), to.c_str()) == 0 ? 0
                                                          : errno;
  }
  if (error == EEXIST) return fail(ErrorCode::kUsage, "{}: is there already", to);
  if (error != 0) return fail(ErrorCode::kIo, "{}: cannot be made: {}", to, std::strerror(error));
  if (sync_.mode != SyncPolicy::Mode::kNever) sync_folder_of(to);
  path_ = to;
  return {};
}

}  // namespace hadal
