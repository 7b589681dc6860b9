// Layers over HTTP: import, list, verify, remove, and what a sandbox changed.
#include <nlohmann/json.hpp>

#include "sandbox/edge/api.h"
#include "sandbox/layers/pack.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostPatterns = 64;  // of one pack_diff; the manifest lists them all

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

void send_error(const std::shared_ptr<ApiReply>& reply, const Error& error, const std::string& sandbox = "") {
  ApiError e = api_error(error, sandbox);
  reply->send(e.status, "application/json", std::move(e.body));
}

void send_json(const std::shared_ptr<ApiReply>& reply, const Json& j, int status = 200) {
  reply->send(status, "application/json", text_of(j));
}

Json layer_json(const StoredLayer& l) {
  const LayerManifest& m = l.manifest;
  return {{"id", l.id},           {"names", l.names},           {"kind", layer_kind_name(m.kind)},
          {"parents", m.parents}, {"meta_bytes", m.meta_bytes}, {"data_bytes", m.data_bytes},
          {"source", m.source},   {"scrubbed", m.scrubbed},     {"made", m.made}};
}

// A string of an object, empty when it is not there; kUsage when it is something else.
Result<std::string> text_at(const Json& j, const char* name) {
  const auto it = j.find(name);
  if (it == j.end()) return std::string();
  if (!it->is_string()) return fail(ErrorCode::kUsage, "'{}' must be a string", name);
  return it->get<std::string>();
}

// Every field must be one of `known`.
Result<Json> object_of(const std::string& body, std::initializer_list<std::string_view> known) {
  Json j = Json::parse(body.empty() ? "{}" : body, nullptr, false);
  if (!j.is_object()) return fail(ErrorCode::kUsage, "the body must be a JSON object");
  for (const auto& [name, value] : j.items())
    if (std::find(known.begin(), known.end(), name) == known.end())
      return fail(ErrorCode::kUsage, "'{:.60}' is no field of this call", name);
  return j;
}

Result<StoredLayer> find_layer(const LayerFolder& folder, const std::string& word) {
  const std::string id = HADAL_TRY(folder.resolve(word));
  auto all = HADAL_TRY(folder.list());
  for (StoredLayer& l : all)
    if (l.id == id) return std::move(l);
  return fail(ErrorCode::kNotFound, "there is no layer '{:.100}'", word);
}

Result<StoredLayer> import(const LayerFolder& folder, const std::string& body) {
  const Json j = HADAL_TRY(object_of(body, {"from", "name", "kind"}));
  const std::string from = HADAL_TRY(text_at(j, "from")), name = HADAL_TRY(text_at(j, "name"));
  const std::string word = HADAL_TRY(text_at(j, "kind"));
  const LayerKind kind = HADAL_TRY(parse_layer_kind(word.empty() ? "base" : word));
  if (kind == LayerKind::kDiff) return fail(ErrorCode::kUsage, "kind: diffs are made of sandboxes, by pack_diff");
  if (!from.starts_with("/") || from.find('\0') != std::string::npos)
    return fail(ErrorCode::kUsage, "'from' must be a full path on the edge's host");
  if (!name.empty()) HADAL_CHECK_OK(check_layer_name(name));
  const std::string id = HADAL_TRY(import_layer(folder, from, kind));
  if (!name.empty()) HADAL_CHECK_OK(folder.set_name(name, id));
  return find_layer(folder, id);
}

}  // namespace

void EdgeApi::layer_call(const ApiRequest& r, const std::vector<std::string>& path,
                         const std::shared_ptr<ApiReply>& reply) {
  if (!layers_) return send_error(reply, {ErrorCode::kUnsupported, "this edge has no layer store"});
  const LayerFolder& folder = layers_->store();
  if (path.size() == 2 && r.method == "GET") {
    const auto all = folder.list();
    if (!all) return send_error(reply, all.error());
    Json rows = Json::array();
    for (const StoredLayer& l : *all) rows.push_back(layer_json(l));
    return send_json(reply, {{"layers", rows}});
  }
  if (path.size() == 2 && r.method == "POST") {
    const auto made = import(folder, r.body);
    if (!made) return send_error(reply, made.error());
    return send_json(reply, layer_json(*made), 201);
  }
  if (path.size() < 3)
    return send_error(reply,
                      {ErrorCode::kNotFound, fmt::format("there is nothing at {:.10} {:.200}", r.method, r.path)});
  const auto layer = find_layer(folder, path[2]);
  if (!layer) return send_error(reply, layer.error());
  Status done = fail(ErrorCode::kNotFound, "there is nothing at {:.10} {:.200}", r.method, r.path);
  if (r.method == "GET" && path.size() == 3) return send_json(reply, layer_json(*layer));
  if (r.method == "DELETE" && path.size() == 3) done = layers_->remove(layer->id);
  if (r.method == "POST" && path.size() == 4 && path[3] == "verify") done = folder.verify(layer->id);
  if (!done) return send_error(reply, done.error());
  send_json(reply, {{"id", layer->id}});
}

void EdgeApi::pack_diff(const std::string& id, const std::string& body, const std::shared_ptr<ApiReply>& reply) {
  const auto packed = [&]() -> Result<DiffLayer> {
    const Json j = HADAL_TRY(object_of(body, {"name", "scrub"}));
    DiffRequest request;
    request.name = HADAL_TRY(text_at(j, "name"));
    if (const auto scrub = j.find("scrub"); scrub != j.end()) {
      if (!scrub->is_array() || scrub->size() > kMostPatterns)
        return fail(ErrorCode::kUsage, "'scrub' must be a list of at most {} patterns", kMostPatterns);
      for (const Json& pattern : *scrub) {
        if (!pattern.is_string()) return fail(ErrorCode::kUsage, "'scrub' must hold strings");
        request.scrub.push_back(pattern.get<std::string>());
      }
    }
    return edge_.pack_diff(id, request);
  }();
  if (!packed) return send_error(reply, packed.error(), id);
  send_json(reply,
            {{"layer", packed->layer},
             {"files", packed->copied.files},
             {"bytes", packed->copied.bytes},
             {"frozen_ms", packed->copied.frozen_s * 1e3}},
            201);
}

}  // namespace hadal::sandbox
