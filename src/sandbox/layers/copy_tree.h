// Copies a file tree as it is: owners, modes, times, extended attributes, links, device nodes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace hadal::sandbox {

struct CopyOptions {
  std::int64_t first_id = 0;          // what the owner ids of the tree are shifted by; others are left as they are
  std::vector<std::string> left_out;  // fnmatch(3) patterns of paths from the top; what lies below goes with them
};

struct CopyCount {
  std::int64_t files = 0, bytes = 0;
};

// `to` is an empty folder. Sockets are left out: they mean nothing without their process. kIo.
Result<CopyCount> copy_tree(const std::string& from, const std::string& to, const CopyOptions& options);

}  // namespace hadal::sandbox
