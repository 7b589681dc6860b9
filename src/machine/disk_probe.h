// How fast files can be read past the page cache: what a model whose experts stay on disk lives on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hadal {

struct DiskRate {
  std::int64_t piece_bytes = 0;
  int in_flight = 0;
  double bytes_per_second = 0;
};

// Reads pieces of 4 and of 16 MiB at random places of the files with O_DIRECT, several at a time, `seconds` each.
// Errors: kNotFound for files too small for a piece, kUnsupported where the file system refuses O_DIRECT (reading
// through the page cache would measure memory), kIo for reads that fail, kCancelled once `go_on` (may be empty) says
// false.
Result<std::vector<DiskRate>> probe_disk(const std::vector<std::string>& files, double seconds,
                                         const std::function<bool()>& go_on);

}  // namespace hadal
