// What a container's processes may do: system calls, capabilities, masked paths. One table, given to crun for process 1
// and to the keeper for every command, so that both get the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "sandbox/api.h"

namespace hadal::sandbox {

// System calls a command may make; anything else answers ENOSYS as if the kernel did not have it.
const std::vector<std::string>& allowed_calls();
// Calls that answer EPERM, because programs ask for them and expect that answer from a container.
const std::vector<std::string>& refused_calls();

// Capabilities kept inside the sandbox's user namespace, by number and by name ("CAP_CHOWN").
const std::vector<std::pair<int, std::string>>& kept_capabilities();

// Two filters for seccomp(2), as words of struct sock_filter: the calls, and arguments that are refused (ioctl requests
// that reach into the file system or the terminal's input, socket families with a history).
struct SeccompFilters {
  std::vector<std::uint64_t> calls, arguments;
};
Result<SeccompFilters> seccomp_filters();

// config.json of the OCI runtime specification 1.0. `init` is argv[0] of process 1 inside, `init_place` its file on the
// host.
std::string oci_config(const CreateSpec& spec, const std::string& id, const std::string& root,
                       const std::string& init_place, std::int64_t first_id);

}  // namespace hadal::sandbox
