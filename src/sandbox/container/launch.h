// Starting a container by crun in a mount namespace of its own.
//
// The root is put together there and nowhere else, so nothing is left mounted on the host when the container dies; and
// crun does not see the v2 tree of a hybrid host, which it refuses.
#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "sandbox/container/keeper_config.h"
#include "sandbox/fd.h"

namespace hadal::sandbox {

// A running container: its first process is a child of the caller, which must be a subreaper.
struct LaunchedContainer {
  pid_t pid = -1;
  Fd pidfd;
  Fd root;  // its root folder
};

// Joins the group, mounts and runs crun; waits for it, at most `seconds`. kIo with what crun said.
Result<LaunchedContainer> launch_container(const KeeperConfig& config, double seconds);

}  // namespace hadal::sandbox
