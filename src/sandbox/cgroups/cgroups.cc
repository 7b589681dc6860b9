#include "sandbox/cgroups/cgroups.h"

#include <signal.h>

#include <charconv>
#include <chrono>
#include <sstream>
#include <thread>

namespace hadal::sandbox {
namespace {

using Clock = std::chrono::steady_clock;
constexpr const char* kFolder = "hadal";
constexpr const char* kWanted[] = {"memory", "cpu", "cpuacct", "pids", "freezer"};
constexpr std::int64_t kPeriodUs = 100'000;  // the kernel's default period of a CPU quota

std::int64_t to_number(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The number after `key` in lines of "key number".
std::int64_t field(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  std::string word;
  for (std::string line; std::getline(lines, line);) {
    const auto space = line.find(' ');
    if (space != std::string::npos && std::string_view(line).substr(0, space) == key)
      return to_number(std::string_view(line).substr(space + 1));
  }
  return 0;
}

bool has_word(const std::string& list, std::string_view word, char separator) {
  std::istringstream words(list);
  for (std::string w; std::getline(words, w, separator);) {
    while (!w.empty() && (w.back() == '\n' || w.back() == ' ')) w.pop_back();
    if (w == word) return true;
  }
  return false;
}

std::int64_t read_number(ControlFiles& files, const std::string& path) {
  const auto text = files.read(path);
  return text ? to_number(*text) : 0;
}

// The group of this process in a hierarchy, from /proc/self/cgroup: "4:memory:/a/b", v2 is "0::/a/b".
std::string own_group(const std::string& text, std::string_view controller) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const bool found = controller.empty() ? names.empty() && line.starts_with("0:") : has_word(names, controller, ',');
    if (!found) continue;
    std::string path = line.substr(second + 1);
    // A process of another cgroup namespace sees paths that lead above its root; those cannot be used.
    if (path.starts_with("/..")) return "";
    return path == "/" ? "" : path;
  }
  return "";
}

void kill_all(ControlFiles& files, const std::string& folder, int number) {
  signal_group(files, folder, number);
  for (const std::string& child : files.folders(folder)) kill_all(files, folder + "/" + child, number);
}

std::int64_t count_all(ControlFiles& files, const std::string& folder) {
  auto n = static_cast<std::int64_t>(group_processes(files, folder).size());
  for (const std::string& child : files.folders(folder)) n += count_all(files, folder + "/" + child);
  return n;
}

template <class Done>
bool wait_until(double seconds, Done done) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  for (auto pause = std::chrono::microseconds(50);; pause = std::min(pause * 2, std::chrono::microseconds(5000))) {
    if (done()) return true;
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(pause);
  }
}

Status remove_tree(ControlFiles& files, const std::string& folder) {
  for (const std::string& child : files.folders(folder)) HADAL_CHECK_OK(remove_tree(files, folder + "/" + child));
  return files.remove_folder(folder);
}

}  // namespace

std::string_view layout_name(CgroupLayout layout) {
  switch (layout) {
    case CgroupLayout::kV1:
      return "v1";
    case CgroupLayout::kV2:
      return "v2";
    case CgroupLayout::kHybrid:
      return "hybrid";
    case CgroupLayout::kNone:
      break;
  }
  return "none";
}

Result<Cgroups> Cgroups::open(ControlFiles& files, const std::string& root) {
  Cgroups groups(files);
  const std::string own = HADAL_TRY(files.read(root + "/proc/self/cgroup"));
  std::istringstream mounts(HADAL_TRY(files.read(root + "/proc/self/mounts")));
  std::string v2_mount;
  std::map<std::string, std::string> v1_mounts;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device, point, type, options;
    words >> device >> point >> type >> options;
    if (type == "cgroup2" && v2_mount.empty()) v2_mount = root + point;
    if (type != "cgroup") continue;
    for (const char* name : kWanted)
      if (has_word(options, name, ',')) v1_mounts.emplace(name, root + point);
  }
  groups.layout_ = v1_mounts.empty() ? (v2_mount.empty() ? CgroupLayout::kNone : CgroupLayout::kV2)
                                     : (v2_mount.empty() ? CgroupLayout::kV1 : CgroupLayout::kHybrid);
  if (groups.layout_ == CgroupLayout::kNone)
    return fail(ErrorCode::kUnsupported, "no cgroup file system is mounted; mount cgroup2 on /sys/fs/cgroup");

  if (groups.layout_ == CgroupLayout::kV2) {
    const std::string mine = v2_mount + own_group(own, "");
    const auto available = files.read(mine + "/cgroup.controllers");
    std::string enable;
    for (const char* name : {"memory", "cpu", "pids"})
      if (available && has_word(*available, name, ' ')) enable += (enable.empty() ? "+" : " +") + std::string(name);
    // v2 hands controllers on only from a group without processes of its own: this process moves one down. The root
    // is the exception.
    if (mine != v2_mount && !enable.empty()) {
      HADAL_CHECK_OK(files.make_folder(mine + "/hadal-edge"));
      HADAL_CHECK_OK(files.write(mine + "/hadal-edge/cgroup.procs", "0"));
    }
    const std::string base = mine + "/" + kFolder;
    HADAL_CHECK_OK(files.make_folder(base));
    if (!enable.empty()) {
      HADAL_CHECK_OK(files.write(mine + "/cgroup.subtree_control", enable));
      HADAL_CHECK_OK(files.write(base + "/cgroup.subtree_control", enable));
    }
    groups.bases_["unified"] = base;
    for (const char* name : {"memory", "cpu", "pids"})
      if (has_word(enable, "+" + std::string(name), ' ')) groups.bases_[name] = base;
    groups.bases_["freezer"] = base;
    return groups;
  }

  for (const auto& [name, mount] : v1_mounts) {
    const std::string mine = mount + own_group(own, name), base = mine + "/" + kFolder;
    // A controller that cannot be used is left out; create() then refuses the limit by name.
    if (files.make_folder(base)) groups.bases_[name] = base;
  }
  if (!groups.has("freezer"))
    return fail(ErrorCode::kUnsupported, "the freezer cgroup cannot be used; run as root or mount the v1 freezer");
  return groups;
}

bool Cgroups::has(const std::string& controller) const { return bases_.contains(controller); }

std::string Cgroups::folder(const std::string& controller, const std::string& id) const {
  const auto base = bases_.find(controller);
  return base == bases_.end() ? "" : base->second + "/" + owner_ + id;
}

Status Cgroups::create(const std::string& id, const GroupLimits& limits) {
  const auto need = [&](const char* controller, const char* what) -> Status {
    if (has(controller)) return {};
    return fail(ErrorCode::kUnsupported,
                "{} cannot be limited: this host has no usable {} cgroup controller; ask for 0 to go without", what,
                controller);
  };
  if (limits.memory_bytes > 0) HADAL_CHECK_OK(need("memory", "memory"));
  if (limits.cpus > 0) HADAL_CHECK_OK(need("cpu", "cpus"));
  if (limits.pids > 0) HADAL_CHECK_OK(need("pids", "pids"));
  for (const auto& [name, base] : bases_) HADAL_CHECK_OK(files_->make_folder(base + "/" + owner_ + id));

  const bool v2 = layout_ == CgroupLayout::kV2;
  const auto set = [&](const char* controller, const char* file, const std::string& value) {
    return files_->write(folder(controller, id) + "/" + file, value);
  };
  if (limits.memory_bytes > 0) {
    HADAL_CHECK_OK(set("memory", v2 ? "memory.max" : "memory.limit_in_bytes", std::to_string(limits.memory_bytes)));
    // Swap would let a sandbox hold more than it was given; hosts without swap accounting have no such file.
    (void)set("memory", v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
              v2 ? "0" : std::to_string(limits.memory_bytes));
    if (v2) (void)set("memory", "memory.oom.group", "0");
  }
  if (limits.cpus > 0) {
    // The kernel takes no quota below a millisecond.
    const auto quota = std::max<std::int64_t>(1000, static_cast<std::int64_t>(limits.cpus * kPeriodUs));
    HADAL_CHECK_OK(v2 ? set("cpu", "cpu.max", fmt::format("{} {}", quota, kPeriodUs))
                      : set("cpu", "cpu.cfs_quota_us", std::to_string(quota)));
  }
  if (limits.pids > 0) HADAL_CHECK_OK(set("pids", "pids.max", std::to_string(limits.pids)));
  return {};
}

GroupPaths Cgroups::paths(const std::string& id) const {
  GroupPaths p;
  p.v2 = layout_ == CgroupLayout::kV2;
  p.tree = folder("freezer", id);
  if (has("memory")) p.oom_events = folder("memory", id) + (p.v2 ? "/memory.events" : "/memory.oom_control");
  if (p.v2) return p;
  // Hierarchies mounted together ("cpu,cpuacct") are one folder.
  std::map<std::string, bool> seen;
  for (const auto& [name, base] : bases_)
    if (name != "freezer" && seen.emplace(base, true).second)
      p.join.push_back(base + "/" + owner_ + id + "/cgroup.procs");
  return p;
}

Result<GroupUsage> Cgroups::usage(const std::string& id) {
  GroupUsage u;
  const bool v2 = layout_ == CgroupLayout::kV2;
  const std::string memory = folder("memory", id), cpu = folder(v2 ? "cpu" : "cpuacct", id);
  if (!memory.empty()) {
    u.memory_bytes = read_number(*files_, memory + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    u.memory_peak_bytes = read_number(*files_, memory + (v2 ? "/memory.peak" : "/memory.max_usage_in_bytes"));
    const auto events = files_->read(memory + (v2 ? "/memory.events" : "/memory.oom_control"));
    if (events) u.oom_kills = field(*events, "oom_kill");
  }
  if (!cpu.empty()) {
    const auto stat = v2 ? files_->read(cpu + "/cpu.stat") : files_->read(cpu + "/cpuacct.usage");
    if (stat)
      u.cpu_s =
          v2 ? static_cast<double>(field(*stat, "usage_usec")) / 1e6 : static_cast<double>(to_number(*stat)) / 1e9;
  }
  u.processes = count_all(*files_, folder("freezer", id));
  return u;
}

Status Cgroups::freeze(const std::string& id) {
  const std::string group = folder("freezer", id);
  const bool v2 = layout_ == CgroupLayout::kV2;
  HADAL_CHECK_OK(v2 ? files_->write(group + "/cgroup.freeze", "1") : files_->write(group + "/freezer.state", "FROZEN"));
  // A process in an uninterruptible wait holds the freezer up; two seconds are long for any healthy disk.
  if (wait_until(2, [&] { return frozen(id); })) return {};
  (void)thaw(id);
  return fail(ErrorCode::kBusy, "sandbox {} did not stand still within 2 s: a process of it waits for a device", id);
}

bool Cgroups::frozen(const std::string& id) {
  const std::string group = folder("freezer", id);
  if (layout_ == CgroupLayout::kV2) {
    const auto events = files_->read(group + "/cgroup.events");
    return events && field(*events, "frozen") == 1;
  }
  const auto state = files_->read(group + "/freezer.state");
  return state && state->starts_with("FROZEN");
}

Status Cgroups::thaw(const std::string& id) {
  const std::string group = folder("freezer", id);
  return layout_ == CgroupLayout::kV2 ? files_->write(group + "/cgroup.freeze", "0")
                                      : files_->write(group + "/freezer.state", "THAWED");
}

std::int64_t Cgroups::reclaim(const std::string& id) {
  const std::string memory = folder("memory", id);
  if (memory.empty()) return 0;
  const bool v2 = layout_ == CgroupLayout::kV2;
  const std::string used = memory + (v2 ? "/memory.current" : "/memory.usage_in_bytes");
  const std::int64_t before = read_number(*files_, used);
  // Both report EBUSY or EAGAIN when something stays; what went is what counts.
  if (v2)
    (void)files_->write(memory + "/memory.reclaim", std::to_string(before));
  else
    (void)files_->write(memory + "/memory.force_empty", "0");
  return std::max<std::int64_t>(0, before - read_number(*files_, used));
}

Status Cgroups::remove(const std::string& id) {
  const std::string tree = folder("freezer", id);
  const bool v2 = layout_ == CgroupLayout::kV2;
  if (auto killed = kill_group(*files_, tree, v2); !killed) return std::unexpected(killed.error());
  Status last;
  std::map<std::string, bool> seen;
  for (const auto& [name, base] : bases_) {
    if (!seen.emplace(base, true).second) continue;
    // A dying process leaves its group a moment after it has left the list.
    wait_until(1, [&, &b = base] {
      last = remove_tree(*files_, b + "/" + owner_ + id);
      return last.has_value();
    });
    if (!last) return last;
  }
  return {};
}

std::vector<std::string> Cgroups::list() {
  std::vector<std::string> out;
  for (const std::string& name : files_->folders(bases_.at("freezer")))
    if (name.starts_with(owner_)) out.push_back(name.substr(owner_.size()));
  return out;
}

std::vector<std::int64_t> group_processes(ControlFiles& files, const std::string& folder) {
  std::vector<std::int64_t> pids;
  const auto text = files.read(folder + "/cgroup.procs");
  if (!text) return pids;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);)
    if (const std::int64_t pid = to_number(line); pid > 0) pids.push_back(pid);
  return pids;
}

void signal_group(ControlFiles& files, const std::string& folder, int number) {
  for (const std::int64_t pid : group_processes(files, folder)) files.kill(pid, number);
}

Result<std::int64_t> kill_group(ControlFiles& files, const std::string& folder, bool v2) {
  const std::int64_t there = count_all(files, folder);
  if (v2) {
    if (there > 0 && !files.write(folder + "/cgroup.kill", "1")) kill_all(files, folder, SIGKILL);
  } else if (there > 0) {
    // A frozen process dies when it thaws, before it runs another instruction of its own.
    (void)files.write(folder + "/freezer.state", "FROZEN");
    wait_until(0.02, [&] {
      const auto state = files.read(folder + "/freezer.state");
      return !state || state->starts_with("FROZEN");
    });
    kill_all(files, folder, SIGKILL);
  }
  if (!v2) (void)files.write(folder + "/freezer.state", "THAWED");
  const bool gone = there == 0 || wait_until(1, [&] {
                      if (count_all(files, folder) == 0) return true;
                      kill_all(files, folder, SIGKILL);
                      return false;
                    });
  if (!gone) return fail(ErrorCode::kBusy, "processes in {} do not die: they wait for a device", folder);
  return there;
}

}  // namespace hadal::sandbox
