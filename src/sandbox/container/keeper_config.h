// What the edge tells a keeper at its start, as a JSON file in the sandbox's folder on the host.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "sandbox/cgroups/cgroups.h"

namespace hadal::sandbox {

struct KeeperConfig {
  std::string id;
  std::string folder;  // of the sandbox: socket, pid file, log
  GroupPaths group;

  // Starting the container.
  std::vector<std::string> runtime;  // argv of crun up to and without "run"
  std::vector<std::string> lowers;   // folders of the host that its root is stacked of, the top one first
  std::vector<std::string> layers;   // ids of those that are layers
  std::string root;                  // an empty folder where the root is mounted, in the keeper's child only
  std::string init;                  // static program for process 1; seen at /dev/.init
  std::string init_place;            // an empty file it is bound to
  std::int64_t first_id = 0;         // host user and group id of root inside; 65,536 follow

  // What commands get.
  std::vector<std::pair<std::string, std::string>> env;
  std::string user, workdir;
  std::int64_t open_files = 4096;
  std::vector<int> capabilities;          // kept in the bounding set
  std::vector<std::uint64_t> seccomp[2];  // filters of sock_filter words, applied in this order
};

std::string to_json(const KeeperConfig& config);
Result<KeeperConfig> parse_keeper_config(const std::string& text);

}  // namespace hadal::sandbox
