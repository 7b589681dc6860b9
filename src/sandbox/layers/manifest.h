// What a layer is: a read-only file tree as metadata (an EROFS image), data (a blob of file contents, fetched by
// chunks) and this manifest, which names both by digest. docs/formats/layer.md has the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::sandbox {

// What is verified and fetched at a time. Four times the chunk by which files share data (pack.cc).
constexpr std::int64_t kLayerChunk = 256 << 10;

enum class LayerKind { kBase, kWorkspace, kToolkit, kDiff };
std::string_view layer_kind_name(LayerKind kind);
Result<LayerKind> parse_layer_kind(std::string_view word);  // kUsage

struct LayerManifest {
  LayerKind kind = LayerKind::kBase;
  std::vector<std::string> parents;  // ids of the layers it lies on, the uppermost first; of a diff
  std::string meta_digest;           // SHA-256 of the metadata
  std::int64_t meta_bytes = 0;
  std::string chunks_digest;  // SHA-256 of the table of chunk checksums: XXH3-128, 16 bytes each
  std::int64_t data_bytes = 0;
  std::string source;                 // "directory", "tar", "oci sha256:...", "diff"
  std::vector<std::string> scrubbed;  // patterns of paths that were left out
  std::int64_t made = 0;              // seconds since 1970; not part of the id

  std::int64_t chunks() const { return (data_bytes + kLayerChunk - 1) / kLayerChunk; }
  std::string id() const;  // SHA-256 of the manifest without `made`
};

std::string to_json(const LayerManifest& manifest);
// kBadInput with the field; every number and list is bounded.
Result<LayerManifest> parse_layer_manifest(std::string_view text);

bool is_layer_id(std::string_view word);  // 64 hexadecimal digits

}  // namespace hadal::sandbox
