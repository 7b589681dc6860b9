// Packed dense weights kept between starts, so that the next one maps them instead of packing the release's files
// again. What lies in the directory can always be made again: a file that is missing, damaged or of other weights is
// replaced, with a warning when it was damaged. Layout: docs/formats/checked-blob.md.
#pragma once

#include <optional>
#include <string>

#include "files/checked_blob.h"
#include "weights/arena.h"
#include "weights/loader.h"

namespace hadal {

// The file for a checkpoint of this fingerprint inside `directory`.
std::string repack_cache_path(std::uint64_t fingerprint, const std::string& directory);

// The dense weights: `kept` when the directory holds them, every byte of it checked; else packed into `arena` and, if
// the directory takes it, written. An empty `directory` keeps nothing; another is made when its parent is there.
// Errors: kUsage when `directory` is no directory or the checkpoint is not in files; those of packing; kNoMemory.
Status load_dense(Loader& load, const Checkpoint& checkpoint, std::uint64_t fingerprint, const std::string& directory,
                  Arena& arena, std::optional<CheckedBlob>& kept);

}  // namespace hadal
