// How many processors this process may really use.
#pragma once

namespace hadal {

// The affinity mask's size, capped by the cgroup's CPU quota (v2 cpu.max or v1 cfs_quota, this group and its parents,
// rounded up). At least 1.
int available_cores();

}  // namespace hadal
