// What this machine is and what it can do at most: the yardsticks that speeds are compared with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/span.h"

namespace hadal {

struct MachineInfo {
  std::string model_name;        // of the processor, as /proc/cpuinfo spells it
  int cores = 1;                 // usable: affinity mask and cgroup quota respected
  std::vector<std::string> isa;  // "sse4.2", "avx2", "avx512", and the extensions the kernels use
  std::int64_t l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;  // of the first core; 0: unknown
  std::int64_t memory_total_bytes = 0;                     // of the machine or the cgroup, the smaller
  std::int64_t memory_available_bytes = 0;                 // what can still be allocated without swapping
};

// Reads /proc and /sys; takes well under a millisecond.
MachineInfo machine_info();

// Bytes per second that `threads` threads read together from memory outside the caches. Measured for about 0.2 s by
// each thread's CPU time (other load on the machine does not count against it), then remembered for this thread count.
// 0 threads: all usable cores. Returns 0 if the memory for it cannot be had.
double measured_read_bandwidth(int threads);

// The same for memory that is there anyway, read again and again: what the caches hold of it comes from them. Takes
// none itself, and about 0.1 s, longer where one pass does.
double measured_read_rate(const std::vector<Bytes>& data, int threads);

// Reads n bytes once, for timing: 16-byte loads, enough to saturate memory from one core.
void read_once(const void* data, std::int64_t n);

// Bytes of this process in memory now: code, libraries, heap. 0 if the system does not tell.
std::int64_t resident_bytes();

// CPU seconds of the calling thread.
double thread_cpu_seconds();

// A page-aligned buffer on 2 MiB pages where the system grants them; data() is null if memory was refused.
class HugeBuffer {
 public:
  explicit HugeBuffer(std::int64_t bytes);
  ~HugeBuffer();
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;
  std::byte* data() const { return data_; }

 private:
  void* mapping_ = nullptr;
  std::int64_t mapped_bytes_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace hadal
