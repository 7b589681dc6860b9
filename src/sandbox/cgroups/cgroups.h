// Control groups of sandboxes, the same on v1, v2 and hybrid hosts.
//
// Every sandbox has one group: a folder in the v2 tree, or one in each v1 hierarchy that is used. Every operation has a
// group below it, so that a whole tree of processes can be found and killed whatever it forks; on v1 only the freezer
// has these. The groups of sandboxes lie under "hadal" in the group the edge itself runs in, so limits set on the edge
// hold for them too.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "sandbox/cgroups/control_files.h"

namespace hadal::sandbox {

enum class CgroupLayout { kNone, kV1, kV2, kHybrid };
std::string_view layout_name(CgroupLayout layout);

struct GroupLimits {
  double cpus = 0;  // 0: no limit; the same for the others
  std::int64_t memory_bytes = 0;
  std::int64_t pids = 0;
};

struct GroupUsage {
  std::int64_t memory_bytes = 0, memory_peak_bytes = 0, processes = 0, oom_kills = 0;
  double cpu_s = 0;
};

// One sandbox's group as plain paths, for the keeper, which does not look for hierarchies itself.
struct GroupPaths {
  bool v2 = false;
  std::string tree;               // the folder whose children are the groups of operations: v2, or the freezer's
  std::vector<std::string> join;  // cgroup.procs files besides that of the operation's group
  std::string oom_events;         // the file that counts kills for want of memory; empty: none
};

class Cgroups {
 public:
  // Finds the hierarchies of this process and makes the folder for sandboxes in each. kUnsupported when there is
  // nothing to freeze or kill by; `root` is put before every path.
  static Result<Cgroups> open(ControlFiles& files, const std::string& root = "");

  // Groups of another owner are neither listed nor touched. Two edges on one host have different ones.
  void set_owner(const std::string& owner) { owner_ = owner + "-"; }

  CgroupLayout layout() const { return layout_; }
  // "memory", "cpu", "pids", "freezer": what can be limited or done here.
  bool has(const std::string& controller) const;

  // kUnsupported names a limit that cannot be set here. A group that is there is given the limits anew.
  Status create(const std::string& id, const GroupLimits& limits);
  GroupPaths paths(const std::string& id) const;
  Result<GroupUsage> usage(const std::string& id);
  Status freeze(const std::string& id);  // returns when everything in it stands still; kBusy after two seconds
  Status thaw(const std::string& id);
  bool frozen(const std::string& id);
  // Bytes of memory that could be taken from a frozen group: its caches.
  std::int64_t reclaim(const std::string& id);
  // Kills everything, then removes the folders. Fine when there are none.
  Status remove(const std::string& id);
  std::vector<std::string> list();

 private:
  explicit Cgroups(ControlFiles& files) : files_(&files) {}
  std::string folder(const std::string& controller, const std::string& id) const;

  ControlFiles* files_;
  std::string owner_;  // put before every id
  CgroupLayout layout_ = CgroupLayout::kNone;
  std::map<std::string, std::string> bases_;  // controller -> folder of the sandboxes; v2: "unified" for all
};

// The processes in `folder` itself.
std::vector<std::int64_t> group_processes(ControlFiles& files, const std::string& folder);
// Everything in `folder` and the groups below dies. On v1 it is frozen first, or a fork bomb outruns the killing. How
// many processes were there; kBusy when some are left after a second.
Result<std::int64_t> kill_group(ControlFiles& files, const std::string& folder, bool v2);
// Sends a signal to every process in `folder`, once.
void signal_group(ControlFiles& files, const std::string& folder, int number);

}  // namespace hadal::sandbox
