// Containers: crun starts them, a keeper outside looks after each, cgroups limit them. Needs root.
#pragma once

#include <memory>
#include <string>

#include "sandbox/api.h"

namespace hadal::sandbox {

struct ContainerOptions {
  std::string data;    // folder of everything that belongs to sandboxes on this host
  std::string keeper;  // the program hadal-keeper
  std::string runtime = "crun";
  std::shared_ptr<LayerStore> layers;  // without it an image is a root directory of this host
  std::int64_t first_id = 0x40000000;  // host user ids from here on, 65,536 for each sandbox
  int most = 4096;                     // sandboxes at a time
};

// kUnsupported names what this host lacks.
Result<std::unique_ptr<Substrate>> open_containers(const ContainerOptions& options);

}  // namespace hadal::sandbox
