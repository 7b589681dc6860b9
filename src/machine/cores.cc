#include "machine/cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "machine/cgroup.h"

namespace hadal {
namespace {

int affinity_count() {
  // The kernel refuses masks smaller than its own, so the set grows until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    const bool ok = sched_getaffinity(0, bytes, set) == 0;
    const int count = ok ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (ok) return std::max(count, 1);
  }
  return 1;
}

}  // namespace

int available_cores() {
  int cores = affinity_count();
  if (double quota = cgroup_limits().cpus; quota > 0)
    cores = std::min(cores, std::max(1, static_cast<int>(std::ceil(quota - 1e-9))));
  return cores;
}

}  // namespace hadal
