#include "weights/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "base/log.h"
#include "machine/cgroup.h"
#include "machine/topology.h"

namespace hadal {

std::int64_t available_memory_bytes() {
  std::int64_t available = -1;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    long long kib = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %lld kB", &kib) == 1) available = kib * 1024;
  }
  const CgroupLimits group = cgroup_limits();
  if (group.memory_bytes < 0) return available;
  const std::int64_t room = std::max<std::int64_t>(0, group.memory_bytes - group.memory_used_bytes);
  return available < 0 ? room : std::min(available, room);
}

Result<Arena> Arena::reserve(std::int64_t bytes) {
  Arena arena;
  if (bytes == 0) return arena;
  void* data =
      ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return fail(ErrorCode::kNoMemory, "the system refused {} bytes for the weights: {}", bytes, std::strerror(errno));
  // Tiles are streamed end to end; with 4 KiB pages the table walks cost several percent. Advice only.
  (void)::madvise(data, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  // Every thread reads every matrix, so that on several memory nodes the pages take turns. Refused (containers often
  // do): slower, not wrong.
  if (several_nodes())
    if (const Status placed = interleave_memory(machine_topology(), data, bytes); !placed)
      log_at(LogLevel::kInfo, "{}", placed.error().what);
  arena.data_ = static_cast<std::byte*>(data);
  arena.size_ = bytes;
  return arena;
}

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Arena::~Arena() {
  if (data_) ::munmap(data_, static_cast<std::size_t>(size_));
}

}  // namespace hadal
