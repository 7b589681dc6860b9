#include "sandbox/layers/manifest.h"

#include <nlohmann/json.hpp>

#include "sandbox/digest.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;  // sorted keys: the same manifest is the same bytes

constexpr const char* kFormat = "hadal.layer/1";
constexpr std::size_t kMostText = 1 << 20;
constexpr std::size_t kMostParents = 64, kMostPatterns = 256;  // overlay itself stops at 500 lower folders
constexpr std::int64_t kMostBytes = std::int64_t{1} << 44;     // EROFS with 4 KiB blocks ends here

Json without_time(const LayerManifest& m) {
  return {{"format", kFormat},
          {"kind", layer_kind_name(m.kind)},
          {"parents", m.parents},
          {"meta", {{"sha256", m.meta_digest}, {"bytes", m.meta_bytes}}},
          {"data", {{"chunks_sha256", m.chunks_digest}, {"bytes", m.data_bytes}, {"chunk_bytes", kLayerChunk}}},
          {"source", m.source},
          {"scrubbed", m.scrubbed}};
}

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string_view layer_kind_name(LayerKind kind) {
  switch (kind) {
    case LayerKind::kBase:
      return "base";
    case LayerKind::kWorkspace:
      return "workspace";
    case LayerKind::kToolkit:
      return "toolkit";
    case LayerKind::kDiff:
      return "diff";
  }
  return "base";
}

Result<LayerKind> parse_layer_kind(std::string_view word) {
  for (const LayerKind kind : {LayerKind::kBase, LayerKind::kWorkspace, LayerKind::kToolkit, LayerKind::kDiff})
    if (layer_kind_name(kind) == word) return kind;
  return fail(ErrorCode::kUsage, "'{:.40}' is no kind of layer; there are base, workspace, toolkit and diff", word);
}

bool is_layer_id(std::string_view word) {
  return word.size() == 64 && word.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string LayerManifest::id() const { return sha256_hex(text_of(without_time(*this))); }

std::string to_json(const LayerManifest& m) {
  Json j = without_time(m);
  j["made"] = m.made;
  return text_of(j);
}

Result<LayerManifest> parse_layer_manifest(std::string_view text) {
  const auto bad = [](const char* what) { return fail(ErrorCode::kBadInput, "layer manifest: {}", what); };
  if (text.size() > kMostText) return bad("more than 1 MiB");
  const Json j = Json::parse(text, nullptr, false);
  if (!j.is_object()) return bad("not a JSON object");
  LayerManifest m;
  const auto string_at = [](const Json& in, const char* name, std::string& to) {
    const auto it = in.find(name);
    if (it == in.end() || !it->is_string()) return false;
    to = it->get<std::string>();
    return true;
  };
  const auto bytes_at = [](const Json& in, const char* name, std::int64_t& to) {
    const auto it = in.find(name);
    if (it == in.end() || !it->is_number_integer()) return false;
    if (it->is_number_unsigned() && it->get<std::uint64_t>() > kMostBytes) return false;
    to = it->get<std::int64_t>();
    return to >= 0 && to <= kMostBytes;
  };
  const auto strings_at = [&](const char* name, std::size_t most, std::vector<std::string>& to) {
    const auto it = j.find(name);
    if (it == j.end() || !it->is_array() || it->size() > most) return false;
    for (const Json& e : *it) {
      if (!e.is_string()) return false;
      to.push_back(e.get<std::string>());
    }
    return true;
  };
  std::string word;
  if (!string_at(j, "format", word) || word != kFormat) return bad("'format' is not hadal.layer/1");
  if (!string_at(j, "kind", word)) return bad("'kind' is not a string");
  m.kind = HADAL_TRY(parse_layer_kind(word));
  if (!strings_at("parents", kMostParents, m.parents)) return bad("'parents' is not a short list of ids");
  for (const std::string& p : m.parents)
    if (!is_layer_id(p)) return bad("'parents' holds something that is no id");
  const auto meta = j.find("meta"), data = j.find("data");
  if (meta == j.end() || !meta->is_object() || !string_at(*meta, "sha256", m.meta_digest) ||
      !is_layer_id(m.meta_digest) || !bytes_at(*meta, "bytes", m.meta_bytes))
    return bad("'meta' needs sha256 and bytes");
  std::int64_t chunk = 0;
  if (data == j.end() || !data->is_object() || !string_at(*data, "chunks_sha256", m.chunks_digest) ||
      !is_layer_id(m.chunks_digest) || !bytes_at(*data, "bytes", m.data_bytes) ||
      !bytes_at(*data, "chunk_bytes", chunk))
    return bad("'data' needs chunks_sha256, bytes and chunk_bytes");
  if (chunk != kLayerChunk) return bad("'chunk_bytes' is not 262144");
  if (!string_at(j, "source", m.source)) return bad("'source' is not a string");
  if (!strings_at("scrubbed", kMostPatterns, m.scrubbed)) return bad("'scrubbed' is not a short list of strings");
  if (!bytes_at(j, "made", m.made)) return bad("'made' is not a time");
  return m;
}

}  // namespace hadal::sandbox
