// Makes layers: from a folder, a tar file, an OCI image layout, or what a sandbox changed.
#pragma once

#include <string>
#include <vector>

#include "sandbox/layers/layer_folder.h"

namespace hadal::sandbox {

struct PackOptions {
  LayerKind kind = LayerKind::kBase;
  std::vector<std::string> parents;
  std::string source = "directory";
  std::vector<std::string> scrubbed;  // noted, not applied
};

// The same tree gives the same id: entries are sorted, and times are those of the files. kUnsupported without
// mkfs.erofs, kIo.
Result<std::string> pack_tree(const LayerFolder& store, const std::string& tree, const PackOptions& options);

// `from` is a folder, a folder in OCI layout (the tag after a colon; default: its only one), or a tar file, compressed
// or not. Unpacking needs root, to keep owners and devices.
Result<std::string> import_layer(const LayerFolder& store, const std::string& from, LayerKind kind);

}  // namespace hadal::sandbox
