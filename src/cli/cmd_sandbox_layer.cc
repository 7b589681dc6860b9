// hadal sandbox layer, pack-diff.
#include <fmt/core.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/options.h"
#include "cli/report.h"
#include "cli/sandbox_paths.h"
#include "sandbox/edge/client.h"
#include "sandbox/edge/text.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

Result<Json> parse(const std::string& text) {
  Json j = Json::parse(text, nullptr, false);
  if (j.is_discarded()) return fail(ErrorCode::kInternal, "the edge's answer is not JSON");
  return j;
}

std::string names_of(const Json& layer) {
  std::string all;
  for (const Json& name : layer.value("names", Json::array()))
    if (name.is_string()) all += (all.empty() ? "" : " ") + name.get<std::string>();
  return all;
}

void print_list(const Json& layers) {
  fmt::print("{:14} {:10} {:>10} {:>10}  {}\n", "LAYER", "KIND", "DATA", "METADATA", "NAMES");
  for (const Json& l : layers)
    fmt::print("{:14} {:10} {:>6.1f} MiB {:>6.1f} MiB  {}\n", l.value("id", "").substr(0, 12), l.value("kind", ""),
               static_cast<double>(l.value("data_bytes", std::int64_t{0})) / (1 << 20),
               static_cast<double>(l.value("meta_bytes", std::int64_t{0})) / (1 << 20), names_of(l));
}

void print_one(const Json& l) {
  fmt::print("id        {}\nnames     {}\nkind      {}\nsource    {}\ndata      {} bytes\nmetadata  {} bytes\n",
             l.value("id", ""), names_of(l), l.value("kind", ""), l.value("source", ""),
             l.value("data_bytes", std::int64_t{0}), l.value("meta_bytes", std::int64_t{0}));
  for (const Json& parent : l.value("parents", Json::array())) fmt::print("lies on   {}\n", parent.get<std::string>());
  for (const Json& pattern : l.value("scrubbed", Json::array()))
    fmt::print("without   {}\n", pattern.get<std::string>());
}

Status layer(const SandboxOptions& o, const std::string& what) {
  sandbox::EdgeClient client(sandbox_socket(o));
  const std::string one = "/v1/layers/" + sandbox::to_percent(o.layer);
  Json body = Json::object();
  if (!o.name.empty()) body["name"] = o.name;
  if (!o.kind.empty()) body["kind"] = o.kind;
  std::string answer;
  if (what == "import") {
    body["from"] = std::filesystem::absolute(o.from).lexically_normal().string();
    answer = HADAL_TRY(client.ask("POST", "/v1/layers", body.dump(-1, ' ', false, Json::error_handler_t::replace)));
  } else if (what == "pack-diff") {
    answer = HADAL_TRY(client.ask("POST", "/v1/sandboxes/" + sandbox::to_percent(o.sandbox) + "/pack_diff",
                                  body.dump(-1, ' ', false, Json::error_handler_t::replace)));
  } else if (what == "ls") {
    answer = HADAL_TRY(client.ask("GET", "/v1/layers"));
  } else if (what == "show") {
    answer = HADAL_TRY(client.ask("GET", one));
  } else if (what == "verify") {
    answer = HADAL_TRY(client.ask("POST", one + "/verify"));
  } else {
    answer = HADAL_TRY(client.ask("DELETE", one));
  }
  const Json j = HADAL_TRY(parse(answer));
  if (o.json)
    fmt::print("{}\n", answer);
  else if (what == "import")
    fmt::print("{}\n", j.value("id", ""));
  else if (what == "pack-diff")
    fmt::print("{}\n", j.value("layer", ""));
  else if (what == "ls")
    print_list(j.value("layers", Json::array()));
  else if (what == "show")
    print_one(j);
  else if (what == "verify")
    fmt::print("every byte is as it was made\n");
  return {};
}

}  // namespace

int run_sandbox_layer(const SandboxOptions& o, const std::string& what) {
  const Status status = layer(o, what);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
