// What a trajectory's records must keep, checked on append and again on read.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>

#include "base/result.h"
#include "sandbox/log/record.h"

namespace hadal::sandbox {

class TrajectoryRules {
 public:
  // kUsage, a sentence, when the record may not follow what was accepted; then nothing changes. Kept: OPEN or BRANCH
  // first and once; epochs rise; seq of INTENT is new and not 0, or of one that was
  // idempotent and lost, with the next attempt; STARTED, OUTPUT, DONE, LOST have an open INTENT;
  // exactly one DONE or LOST each; SNAPSHOT with nothing running unless it lists what runs; nothing after CLOSE.
  Status accept(RecordType type, std::string_view body);
  std::uint64_t records() const { return records_; }

 private:
  std::uint64_t records_ = 0, epoch_ = 0;
  bool closed_ = false;
  struct Call {
    bool running = true, may_repeat = false;  // idempotent and lost
    std::uint64_t attempt = 1;
    bool idempotent = false;
  };
  std::map<std::uint64_t, Call> calls_;  // by seq
  std::uint64_t running_ = 0;
};

}  // namespace hadal::sandbox
