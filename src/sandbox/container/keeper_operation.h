// One operation in a keeper: a process, its pipes, what is kept of its output, and how it ended.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <chrono>
#include <string>

#include "sandbox/container/head_tail.h"
#include "sandbox/fd.h"

namespace hadal::sandbox {

using KeeperClock = std::chrono::steady_clock;

struct KeeperOperation {
  std::string id;
  bool is_file = false, tty = false;
  pid_t pid = -1;
  std::string group;
  Fd status;                // of the spare's socket
  std::string status_text;  // a sentence why nothing was started, or a file answer
  Fd in;
  std::string input;  // not yet taken by the command
  bool input_ends = true;
  std::array<Fd, 2> out;
  std::array<HeadTail, 2> kept;

  KeeperClock::time_point begun, deadline = KeeperClock::time_point::max();
  KeeperClock::time_point kill_at = KeeperClock::time_point::max();  // after SIGTERM
  double grace_s = 2;
  KeeperClock::time_point exited_at, quiet_since;
  std::int64_t oom_before = 0, killed = 0;
  int wait_status = 0;
  struct rusage usage = {};
  bool started = false;  // the command runs (its status socket closed without a word)
  bool exited = false, timed_out = false, killed_by_request = false;
  bool ended = false;  // everything below is final
  std::string result;  // JSON of kEnded

  std::int64_t bytes() const { return kept[0].kept() + kept[1].kept() + static_cast<std::int64_t>(input.size()); }
};

}  // namespace hadal::sandbox
