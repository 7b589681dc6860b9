// Limits that the control groups of this process set, v1 and v2.
#pragma once

#include <cstdint>
#include <string>

namespace hadal {

struct CgroupLimits {
  double cpus = 0;                     // CPU quota in processors; 0: none
  std::int64_t memory_bytes = -1;      // hard limit; -1: none
  std::int64_t memory_used_bytes = 0;  // of the group that sets the limit, reclaimable file cache not counted
};

// The tightest limit on the way from this process's group to the root. Unreadable files count as no limit.
// `root` is prepended to /proc and /sys paths, for tests.
CgroupLimits cgroup_limits(const std::string& root = "");

}  // namespace hadal
