// The process a keeper forks for one operation.
//
// It is made before it is needed, because joining a cgroup can take many milliseconds (the kernel waits for a grace
// period) and the rest takes well under one. It waits on a socket for the request; then it joins the sandbox's
// namespaces, gives up what it may not have, and becomes the command - or works on files and exits.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "sandbox/container/keeper_config.h"
#include "sandbox/container/launch.h"
#include "sandbox/fd.h"

namespace hadal::sandbox {

struct Spare {
  pid_t pid = -1;
  Fd socket;  // the request goes in; comes back: nothing (it became the command), a sentence, or a file answer
  std::string group;
};

// Forks a spare into a new group `name`. The caller's children must already be born in the sandbox's pid namespace.
Result<Spare> fork_spare(const KeeperConfig& config, const LaunchedContainer& container, const std::string& name);

// Hands over `request` (JSON) and the three descriptors; they are closed here. `terminal`: stdin is one.
Status send_request(const Spare& spare, const std::string& request, Fd in, Fd out, Fd err);

// A terminal of the sandbox: the master stays outside, the other end belongs to `uid`, `gid` of the host.
struct Terminal {
  Fd master, slave;
};
Result<Terminal> open_terminal(const LaunchedContainer& container, const KeeperConfig& config, int rows, int columns);

// In the child, as root of the sandbox's user namespace: answers one file request. The answer is JSON.
std::string work_on_files(int root, const std::string& request, int in, int out);

// Opens `path` as if `root` were /. No link leads out, not even one of /proc.
int open_in_root(int root, const std::string& path, int flags, unsigned mode = 0);

}  // namespace hadal::sandbox
