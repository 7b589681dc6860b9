// The record of everything that happened to sandboxes: one write-ahead log per edge, many trajectories in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sandbox/log/record.h"

namespace hadal::sandbox {

struct Appended {
  std::uint64_t lsn = 0, sequence = 0;
};

// Thread-safe. What append() answered is in order but durable only after sync().
class TrajectoryLog {
 public:
  virtual ~TrajectoryLog() = default;
  // `body` is a JSON object, at most kMostRecordBody. kUsage: the record breaks an invariant of its trajectory, and
  // nothing was written. kBusy: the disk is full (log_full); only new INTENT, OPEN and BRANCH records meet this.
  // kBadInput: the trajectory is stopped by damage. kIo: the log failed and takes nothing more.
  virtual Result<Appended> append(std::string_view trajectory, RecordType type, std::string body) = 0;
  // Returns when everything up to `lsn` is durable. kIo.
  virtual Status sync(std::uint64_t lsn) = 0;
  // All records of the trajectory, in order. kNotFound; kBadInput when it is stopped by damage.
  virtual Result<std::vector<Record>> read(std::string_view trajectory) const = 0;
  virtual std::vector<std::string> trajectories() const = 0;
};

}  // namespace hadal::sandbox
