#include "sandbox/log/file_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace hadal::sandbox {
namespace {

constexpr std::int64_t kLeastSegment = 16
                                       << 20;   // above the 4 MiB of the largest record and what is buffered beside it
constexpr std::size_t kMostBuffered = 4 << 20;  // more waits for a sync, which bounds memory when the disk is slow

int allocate_blocks(int fd, std::int64_t bytes) { return ::posix_fallocate(fd, 0, bytes); }

Status write_all(int fd, std::string_view bytes, std::uint64_t at) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(ErrorCode::kIo, "cannot write the trajectory log: {}", std::strerror(n < 0 ? errno : EIO));
    bytes.remove_prefix(static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<std::string> read_range(int fd, std::uint64_t at, std::uint64_t length) {
  std::string bytes(length, '\0');
  std::size_t have = 0;
  while (have < length) {
    const ssize_t n = ::pread(fd, bytes.data() + have, length - have, static_cast<off_t>(at + have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(ErrorCode::kIo, "cannot read the trajectory log: {}", std::strerror(errno));
    if (n == 0) return fail(ErrorCode::kBadInput, "a segment of the trajectory log is shorter than it was");
    have += static_cast<std::size_t>(n);
  }
  return bytes;
}

}  // namespace

Result<std::unique_ptr<FileLog>> FileLog::open(const std::string& folder, Options options) {
  if (options.segment_bytes < kLeastSegment)
    return fail(ErrorCode::kUsage, "segments of {} bytes are too small for the log; at least {}", options.segment_bytes,
                kLeastSegment);
  if (!options.allocate) options.allocate = allocate_blocks;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(ErrorCode::kIo, "cannot make {}: {}", folder, error.message());
  std::unique_ptr<FileLog> log(new FileLog(folder, std::move(options)));
  log->folder_fd_ = Fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  log->lock_ = Fd(::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!log->folder_fd_ || !log->lock_) return fail(ErrorCode::kIo, "cannot open {}: {}", folder, std::strerror(errno));
  if (::flock(log->lock_.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kBusy, "{} is open in another process; stop that edge first", folder);
  HADAL_CHECK_OK(log->scan());
  return log;
}

Status FileLog::scan() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error))
    if (entry.path().extension() == ".log") names.push_back(entry.path().string());
  if (error) return fail(ErrorCode::kIo, "cannot list {}: {}", folder_, error.message());
  std::sort(names.begin(), names.end());  // sixteen digits of the first lsn: the order of writing
  for (const std::string& path : names) {
    segments_.push_back({path, Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC))});
    if (!segments_.back().fd) return fail(ErrorCode::kIo, "cannot open {}: {}", path, std::strerror(errno));
  }
  for (std::size_t i = 0; i < segments_.size(); ++i) HADAL_CHECK_OK(scan_segment(i, i + 1 == segments_.size()));
  judge_damage();
  durable_ = next_lsn_ - 1;
  written_ = end_;
  // Records of a process that died between write and sync may be in the page cache only: what is served must be
  // durable.
  if (!segments_.empty() && ::fdatasync(segments_.back().fd.get()) != 0)
    return fail(ErrorCode::kIo, "cannot sync {}: {}", segments_.back().path, std::strerror(errno));
  if (segments_.empty()) HADAL_CHECK_OK(add_segment(false));
  return make_reserve();
}

// Reads records to the end of the segment. After a bad place it looks for the next good record: one that was written
// when the bad place was already durable proves damage in the middle; without one the place is a torn tail.
Status FileLog::scan_segment(std::size_t index, bool last) {
  struct stat info{};
  Segment& s = segments_[index];
  if (::fstat(s.fd.get(), &info) != 0) return fail(ErrorCode::kIo, "cannot stat {}: {}", s.path, std::strerror(errno));
  const std::string bytes = HADAL_TRY(read_range(s.fd.get(), 0, static_cast<std::uint64_t>(info.st_size)));
  std::string_view rest = bytes;
  std::size_t at = 0;
  end_ = 0;
  while (at < bytes.size()) {
    std::size_t found = at;
    std::optional<DecodedRecord> d = decode_record(rest.substr(found));
    while (!d) {
      found = rest.find(kRecordMagic, found + 1);
      if (found == std::string_view::npos) break;
      d = decode_record(rest.substr(found));
      // A record not acknowledged at the bad place, or an old one quoted in a body, is no witness.
      if (d && (d->record.durable < next_lsn_ || d->record.lsn < next_lsn_)) d.reset();
    }
    if (!d.has_value()) break;
    if (d->record.lsn < next_lsn_)
      return fail(ErrorCode::kBadInput, "{}: record {} comes twice or out of order; a segment was copied or renamed",
                  s.path, d->record.lsn);
    HADAL_CHECK_OK(take_record(d->record, {index, found, d->length}));
    at = found + d->length;
    end_ = at;
  }
  if (last && rest.find_first_not_of('\0', end_) != std::string_view::npos) {
    // The torn tail is cut: what follows it must never look like a record again.
    HADAL_CHECK_OK(write_all(s.fd.get(), std::string(bytes.size() - end_, '\0'), end_));
    if (::fdatasync(s.fd.get()) != 0) return fail(ErrorCode::kIo, "cannot sync {}: {}", s.path, std::strerror(errno));
  }
  return {};
}

Status FileLog::take_record(const Record& r, Place place) {
  if (r.lsn > next_lsn_) {
    missing_ += r.lsn - next_lsn_;
    hole_at_ = next_lsn_;
  }
  next_lsn_ = r.lsn + 1;
  Trajectory& t = trajectories_[r.trajectory];
  t.last_lsn = r.lsn;
  if (!t.stopped.empty()) return {};
  if (r.sequence != t.rules.records() + 1) {
    if (r.sequence > t.rules.records()) found_gaps_ += r.sequence - t.rules.records() - 1;
    t.stopped = fmt::format("record {} is followed by {}", t.rules.records(), r.sequence);
  } else if (const Status ok = t.rules.accept(r.type, r.body); !ok) {
    t.stopped = ok.error().what;
  }
  t.places.push_back(place);
  return {};
}

// A missing lsn belongs to a trajectory whose records show the gap. When some belong to none that can be seen, any
// trajectory without a later record may be the one: those stop too.
void FileLog::judge_damage() {
  if (missing_ <= found_gaps_) return;
  for (auto& [name, t] : trajectories_)
    if (t.stopped.empty() && t.last_lsn < hole_at_)
      t.stopped = fmt::format("records up to {} are damaged and may have been its own", hole_at_);
}

Status FileLog::add_segment(bool may_use_reserve) {
  const std::string path = fmt::format("{}/{:016}.log", folder_, next_lsn_);
  const std::string partial = folder_ + "/next.partial";
  Fd fd(::open(partial.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return fail(ErrorCode::kIo, "cannot make {}: {}", partial, std::strerror(errno));
  if (const int e = options_.allocate(fd.get(), options_.segment_bytes); e != 0) {
    ::unlink(partial.c_str());
    if (!may_use_reserve || !reserve_)
      return fail(e == ENOSPC || e == EDQUOT ? ErrorCode::kBusy : ErrorCode::kIo,
                  "log_full: no room for the next segment of the trajectory log in {}: {}; free space there", folder_,
                  std::strerror(e));
    fd = Fd(::open((folder_ + "/reserve").c_str(), O_RDWR | O_CLOEXEC));
    if (!fd || ::rename((folder_ + "/reserve").c_str(), path.c_str()) != 0)
      return fail(ErrorCode::kIo, "cannot use {}/reserve: {}", folder_, std::strerror(errno));
    reserve_ = false;
  } else if (::rename(partial.c_str(), path.c_str()) != 0) {
    return fail(ErrorCode::kIo, "cannot make {}: {}", path, std::strerror(errno));
  }
  if (::fsync(fd.get()) != 0 || ::fsync(folder_fd_.get()) != 0)
    return fail(ErrorCode::kIo, "cannot sync {}: {}", path, std::strerror(errno));
  segments_.push_back({path, std::move(fd)});
  end_ = written_ = 0;
  return {};
}

// Space kept so that running operations can be finished in the log when the disk is full. A full disk now is no error:
// the log can be read, and takes what fits.
Status FileLog::make_reserve() {
  const std::string path = folder_ + "/reserve", partial = path + ".partial";
  if (::access(path.c_str(), F_OK) == 0) return reserve_ = true, Status();
  const Fd fd(::open(partial.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return fail(ErrorCode::kIo, "cannot make {}: {}", partial, std::strerror(errno));
  if (options_.allocate(fd.get(), options_.segment_bytes) != 0) {
    ::unlink(partial.c_str());
    return {};
  }
  if (::rename(partial.c_str(), path.c_str()) != 0)
    return fail(ErrorCode::kIo, "cannot make {}: {}", path, std::strerror(errno));
  reserve_ = true;
  return {};
}

Status FileLog::make_room(std::size_t bytes, bool may_use_reserve) {
  if (end_ + bytes <= static_cast<std::uint64_t>(options_.segment_bytes)) return {};
  // Everything before lies in the old segment, durable, before the new one has a first record.
  HADAL_CHECK_OK(write_all(segments_.back().fd.get(), buffer_, written_));
  written_ += buffer_.size();
  buffer_.clear();
  if (::fdatasync(segments_.back().fd.get()) != 0)
    return fail(ErrorCode::kIo, "cannot sync the trajectory log: {}", std::strerror(errno));
  durable_ = next_lsn_ - 1;
  return add_segment(may_use_reserve);
}

Result<Appended> FileLog::append(std::string_view name, RecordType type, std::string body) {
  if (name.empty() || name.size() > kMostTrajectoryName)
    return fail(ErrorCode::kUsage, "the name of a trajectory has 1 to {} bytes, not {}", kMostTrajectoryName,
                name.size());
  if (body.size() > kMostRecordBody)
    return fail(ErrorCode::kUsage, "a record of {} bytes is longer than the log takes, {}", body.size(),
                kMostRecordBody);
  std::unique_lock lock(mutex_);
  if (buffer_.size() > kMostBuffered) {
    const std::uint64_t lsn = next_lsn_ - 1;
    lock.unlock();
    HADAL_CHECK_OK(sync(lsn));
    lock.lock();
  }
  synced_.wait(lock, [&] {
    return !syncing_ ||
           end_ + kRecordHeader + name.size() + body.size() <= static_cast<std::uint64_t>(options_.segment_bytes);
  });
  if (!failed_.empty()) return fail(ErrorCode::kIo, "{}", failed_);
  const auto known = trajectories_.find(name);
  if (known != trajectories_.end() && !known->second.stopped.empty())
    return fail(ErrorCode::kBadInput, "trajectory '{}' is stopped by damage: {}", name, known->second.stopped);
  const bool begins = type == RecordType::kIntent || type == RecordType::kOpen || type == RecordType::kBranch;
  const std::size_t length = kRecordHeader + name.size() + body.size();
  if (const Status room = make_room(length, !begins); !room) {
    if (room.error().code == ErrorCode::kIo) failed_ = room.error().what;
    return std::unexpected(room.error());
  }
  TrajectoryRules fresh;
  TrajectoryRules& rules = known != trajectories_.end() ? known->second.rules : fresh;
  HADAL_CHECK_OK(rules.accept(type, body));
  encode_record(buffer_, {type, next_lsn_, rules.records(), durable_, std::string(name), std::move(body)});
  Trajectory& t = known != trajectories_.end() ? known->second : trajectories_[std::string(name)];
  if (known == trajectories_.end()) t.rules = std::move(fresh);
  t.last_lsn = next_lsn_;
  t.places.push_back({segments_.size() - 1, end_, length});
  end_ += length;
  return Appended{next_lsn_++, t.rules.records()};
}

Status FileLog::sync(std::uint64_t lsn) {
  std::unique_lock lock(mutex_);
  if (lsn >= next_lsn_) return fail(ErrorCode::kUsage, "record {} is not in the log", lsn);
  for (;;) {
    if (durable_ >= lsn) return {};
    if (!failed_.empty()) return fail(ErrorCode::kIo, "{}", failed_);
    if (!syncing_) break;
    synced_.wait(lock);
  }
  syncing_ = true;  // this thread syncs for all who wait
  const std::string bytes = std::exchange(buffer_, {});
  const std::uint64_t at = std::exchange(written_, written_ + bytes.size()), up_to = next_lsn_ - 1;
  const int fd = segments_.back().fd.get();
  lock.unlock();
  Status done = write_all(fd, bytes, at);
  if (done && ::fdatasync(fd) != 0)
    done = fail(ErrorCode::kIo, "cannot sync the trajectory log: {}", std::strerror(errno));
  lock.lock();
  syncing_ = false;
  // After a failed sync the kernel may have dropped the pages: nothing later can be promised.
  if (done)
    durable_ = std::max(durable_, up_to);
  else
    failed_ = done.error().what;
  synced_.notify_all();
  return done;
}

Result<std::vector<Record>> FileLog::read(std::string_view name) const {
  std::unique_lock lock(mutex_);
  synced_.wait(lock, [&] { return !syncing_; });  // what is on its way to the file is in neither place
  const auto it = trajectories_.find(name);
  if (it == trajectories_.end()) return fail(ErrorCode::kNotFound, "there is no trajectory '{}' in {}", name, folder_);
  if (!it->second.stopped.empty())
    return fail(ErrorCode::kBadInput, "trajectory '{}' is stopped by damage: {}", name, it->second.stopped);
  std::vector<Record> records;
  for (const Place& p : it->second.places) {
    std::string bytes;
    if (p.segment + 1 == segments_.size() && p.offset >= written_)
      bytes = buffer_.substr(p.offset - written_, p.length);
    else
      bytes = HADAL_TRY(read_range(segments_[p.segment].fd.get(), p.offset, p.length));
    auto d = decode_record(bytes);
    if (!d)
      return fail(ErrorCode::kBadInput, "record {} of trajectory '{}' was damaged after it was written",
                  records.size() + 1, name);
    records.push_back(std::move(d->record));
  }
  return records;
}

std::vector<std::string> FileLog::trajectories() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, t] : trajectories_) names.push_back(name);
  return names;
}

}  // namespace hadal::sandbox
