#include <fmt/core.h>

#include "cli/command_info.h"
#include "cli/options.h"

namespace hadal::cli {

int run_completion(const std::string&) {
  fmt::print("{}", bash_completion(command_tree()));
  return 0;
}

}  // namespace hadal::cli
