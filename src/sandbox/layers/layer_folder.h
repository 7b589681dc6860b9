// Layers in a folder of this host, each complete or not there:
//   layers/ID/{manifest.json, meta.erofs, data.blob, chunks.xxh}   names/NAME (one id)   lock
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sandbox/fd.h"
#include "sandbox/layers/manifest.h"

namespace hadal::sandbox {

struct StoredLayer {
  std::string id;
  std::vector<std::string> names;
  LayerManifest manifest;
};

class LayerFolder {
 public:
  // Makes `folder` if it is not there, and removes what a killed process left half made. kBusy: another process has it.
  static Result<LayerFolder> open(std::string folder);

  // A name, an id, or the first 8 or more digits of one. kNotFound, kUsage when several begin so.
  Result<std::string> resolve(std::string_view word) const;
  // kNotFound; kBadInput when the manifest is not the one the id stands for.
  Result<LayerManifest> manifest(std::string_view id) const;
  Result<std::vector<StoredLayer>> list() const;
  Status set_name(std::string_view name, std::string_view id) const;
  // Checks every digest and every chunk. kBadInput names the first thing that is wrong.
  Status verify(std::string_view id) const;
  // With its names. kBusy when another layer lies on it.
  Status remove(std::string_view id) const;

  std::string meta_path(std::string_view id) const { return file_of(id, "meta.erofs"); }
  std::string data_path(std::string_view id) const { return file_of(id, "data.blob"); }

  // An empty folder in the store, for what is being made. Whoever asked removes it or gives it to add().
  Result<std::string> workplace() const;
  // Takes meta.erofs and data.blob from `place`, writes what belongs to them, and makes all of it durable before the
  // layer appears. The id; a layer that is there already is left as it is.
  Result<std::string> add(const std::string& place, LayerManifest manifest) const;

 private:
  explicit LayerFolder(std::string folder, Fd lock) : folder_(std::move(folder)), lock_(std::move(lock)) {}
  std::string file_of(std::string_view id, std::string_view file) const;
  std::string folder_;
  Fd lock_;
};

// kUsage says what a name may be made of.
Status check_layer_name(std::string_view name);

}  // namespace hadal::sandbox
