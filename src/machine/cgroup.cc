#include "machine/cgroup.h"

#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>

namespace hadal {
namespace {

// First line of a small file; empty when it cannot be read.
std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// A non-negative number at the start of text; -1 for "max", empty or anything else.
std::int64_t number(std::string_view text) {
  std::int64_t value = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && value >= 0 ? value : -1;
}

// File cache the kernel gives back before it kills anyone, from memory.stat: all that was read once, and of what was
// read again half, as the kernel's own MemAvailable counts it.
std::int64_t reclaimable(const std::string& stat_path, const std::string& prefix) {
  std::ifstream in(stat_path);
  std::string name;
  std::int64_t value = 0, sum = 0;
  while (in >> name >> value) {
    if (name == prefix + "inactive_file") sum += value;
    if (name == prefix + "active_file") sum += value / 2;
  }
  return sum;
}

void cap_cpus(CgroupLimits& limits, std::int64_t quota, std::int64_t period) {
  if (quota <= 0 || period <= 0) return;
  double cpus = static_cast<double>(quota) / static_cast<double>(period);
  if (limits.cpus == 0 || cpus < limits.cpus) limits.cpus = cpus;
}

void cap_memory(CgroupLimits& limits, std::int64_t bytes, std::int64_t used) {
  constexpr std::int64_t kUnlimited = std::int64_t{1} << 60;  // v1 writes a huge page-aligned number for "none"
  if (bytes < 0 || bytes >= kUnlimited || (limits.memory_bytes >= 0 && bytes >= limits.memory_bytes)) return;
  limits.memory_bytes = bytes;
  limits.memory_used_bytes = used > 0 ? used : 0;
}

void read_v2(const std::string& directory, CgroupLimits& limits) {
  std::istringstream cpu(first_line(directory + "/cpu.max"));
  std::string quota;
  std::int64_t period = 0;
  if (cpu >> quota >> period) cap_cpus(limits, number(quota), period);
  cap_memory(limits, number(first_line(directory + "/memory.max")),
             number(first_line(directory + "/memory.current")) - reclaimable(directory + "/memory.stat", ""));
}

void read_v1_cpu(const std::string& directory, CgroupLimits& limits) {
  cap_cpus(limits, number(first_line(directory + "/cpu.cfs_quota_us")),
           number(first_line(directory + "/cpu.cfs_period_us")));
}

void read_v1_memory(const std::string& directory, CgroupLimits& limits) {
  cap_memory(
      limits, number(first_line(directory + "/memory.limit_in_bytes")),
      number(first_line(directory + "/memory.usage_in_bytes")) - reclaimable(directory + "/memory.stat", "total_"));
}

// Calls visit for mount + path and each of its parents up to mount itself. Inside a container the path may not exist
// below the mount; the mount itself then is the group.
template <class Visit>
void each_parent(const std::string& mount, std::string path, Visit visit) {
  while (path.size() > 1) {
    visit(mount + path);
    std::size_t slash = path.rfind('/');
    path = slash == std::string::npos ? "" : path.substr(0, slash);
  }
  visit(mount);
}

}  // namespace

CgroupLimits cgroup_limits(const std::string& root) {
  CgroupLimits limits;
  std::ifstream in(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(in, line)) {  // "0::/path" or "4:cpu,cpuacct:/path"
    std::size_t a = line.find(':');
    std::size_t b = a == std::string::npos ? a : line.find(':', a + 1);
    if (b == std::string::npos) continue;
    std::string controllers = "," + line.substr(a + 1, b - a - 1) + ",", path = line.substr(b + 1);
    if (controllers == ",,")
      each_parent(root + "/sys/fs/cgroup", path, [&](const std::string& d) { read_v2(d, limits); });
    if (controllers.find(",cpu,") != std::string::npos)
      each_parent(root + "/sys/fs/cgroup/cpu", path, [&](const std::string& d) { read_v1_cpu(d, limits); });
    if (controllers.find(",memory,") != std::string::npos)
      each_parent(root + "/sys/fs/cgroup/memory", path, [&](const std::string& d) { read_v1_memory(d, limits); });
  }
  return limits;
}

}  // namespace hadal
