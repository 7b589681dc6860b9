// The trajectory log in files: docs/formats/trajectory-log.md. Appends of all threads share one write and one
// fdatasync: while one thread syncs, what the others append waits for the next, so no fixed window is needed.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sandbox/fd.h"
#include "sandbox/log/rules.h"
#include "sandbox/log/trajectory_log.h"

namespace hadal::sandbox {

class FileLog final : public TrajectoryLog {
 public:
  struct Options {
    std::int64_t segment_bytes = 64 << 20;  // preallocated; at least 16 MiB, so that any one write fits
    // Takes disk space for an open file; 0 or errno. Replaced in tests by one that says the disk is full.
    std::function<int(int fd, std::int64_t bytes)> allocate;
  };

  // Opens the log in `folder`, made if it is not there. Cuts a torn tail. kBusy: another process has it open;
  // kBadInput: the folder's files are not one log; kIo.
  static Result<std::unique_ptr<FileLog>> open(const std::string& folder, Options options);
  static Result<std::unique_ptr<FileLog>> open(const std::string& folder) { return open(folder, Options()); }

  // What was appended and not synced is dropped, as when the process dies.
  ~FileLog() override = default;

  Result<Appended> append(std::string_view trajectory, RecordType type, std::string body) override;
  Status sync(std::uint64_t lsn) override;
  Result<std::vector<Record>> read(std::string_view trajectory) const override;
  std::vector<std::string> trajectories() const override;

 private:
  struct Place {
    std::size_t segment = 0;
    std::uint64_t offset = 0, length = 0;
  };
  struct Trajectory {
    TrajectoryRules rules;
    std::uint64_t last_lsn = 0;
    std::string stopped;  // a sentence, when damage stopped it
    std::vector<Place> places;
  };
  struct Segment {
    std::string path;
    Fd fd;
  };

  FileLog(std::string folder, Options options) : folder_(std::move(folder)), options_(std::move(options)) {}
  Status scan();
  Status scan_segment(std::size_t index, bool last);
  Status take_record(const Record& record, Place place);
  void judge_damage();
  Status add_segment(bool may_use_reserve);
  Status make_reserve();
  Status make_room(std::size_t bytes, bool may_use_reserve);

  const std::string folder_;
  Options options_;
  Fd lock_, folder_fd_;

  mutable std::mutex mutex_;
  mutable std::condition_variable synced_;
  std::map<std::string, Trajectory, std::less<>> trajectories_;
  std::vector<Segment> segments_;
  std::uint64_t next_lsn_ = 1, durable_ = 0;
  std::uint64_t end_ = 0;      // of the last segment: where the next record goes
  std::uint64_t written_ = 0;  // of the last segment: where buffer_ goes
  std::string buffer_;
  bool syncing_ = false, reserve_ = false;
  std::string failed_;  // a sentence, once the disk refused a write
  // Of the scan: lsns that are missing, and where the first of them would be.
  std::uint64_t missing_ = 0, found_gaps_ = 0, hole_at_ = 0;
};

}  // namespace hadal::sandbox
