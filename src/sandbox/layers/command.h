// Programs of the distribution that the layers are made with.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hadal::sandbox {

// Runs a program to its end, with nothing to read. `package` is what to install when it is not there (kUnsupported).
// kIo with the first lines it wrote when it fails.
Status run_program(std::vector<std::string> words, const std::string& package,
                   const std::vector<std::string>& environment = {});

}  // namespace hadal::sandbox
