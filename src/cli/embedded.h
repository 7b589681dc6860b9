// Files built into the program: the embedded nano model, as the release directory it was.
#pragma once

#include <string>

#include "files/file_set.h"

namespace hadal::cli {

// The files of the model a command names: a directory, or the embedded nano when `model` is empty. The embedded files
// are 64-byte aligned, read-only, and live as long as the program.
FileSet model_files(const std::string& model);

}  // namespace hadal::cli
