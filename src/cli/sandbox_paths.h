// Where the sandbox commands find each other.
#pragma once

#include <string>

#include "cli/options.h"

namespace hadal::cli {

std::string sandbox_data(const SandboxOptions& options);    // --data, or the system's place
std::string sandbox_socket(const SandboxOptions& options);  // of the edge
std::string keeper_program();                               // hadal-keeper beside this program

}  // namespace hadal::cli
