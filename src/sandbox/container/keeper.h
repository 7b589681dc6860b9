// The keeper: one small process per container, outside it. It starts the container, starts commands in it, keeps their
// output until the edge has stored it, and outlives the edge.
//
// One thread, one connection at a time. A new connection replaces the old one: whatever was queued there is dropped
// before the table is sent, so what the table does not name was never started.
#pragma once

#include "sandbox/container/keeper_config.h"

namespace hadal::sandbox {

// Serves until kClose. `first` is a connection to begin with, or -1. Gives the exit status of the process.
int run_keeper(const KeeperConfig& config, int first);

// Process 1 of a container: reaps, and ends at SIGTERM. Does not return.
[[noreturn]] void run_init();

}  // namespace hadal::sandbox
