#include "sandbox/container/keeper_config.h"

#include <nlohmann/json.hpp>

namespace hadal::sandbox {

using Json = nlohmann::json;

std::string to_json(const KeeperConfig& c) {
  const Json j = {
      {"id", c.id},
      {"folder", c.folder},
      {"group", {{"v2", c.group.v2}, {"tree", c.group.tree}, {"join", c.group.join}, {"oom", c.group.oom_events}}},
      {"runtime", c.runtime},
      {"lowers", c.lowers},
      {"layers", c.layers},
      {"root", c.root},
      {"init", c.init},
      {"init_place", c.init_place},
      {"first_id", c.first_id},
      {"env", c.env},
      {"user", c.user},
      {"workdir", c.workdir},
      {"open_files", c.open_files},
      {"capabilities", c.capabilities},
      {"seccomp", {c.seccomp[0], c.seccomp[1]}}};
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<KeeperConfig> parse_keeper_config(const std::string& text) {
  try {
    const Json j = Json::parse(text);
    KeeperConfig c;
    c.id = j.at("id");
    c.folder = j.at("folder");
    const Json& g = j.at("group");
    c.group = {g.at("v2"), g.at("tree"), g.at("join"), g.at("oom")};
    c.runtime = j.at("runtime").get<std::vector<std::string>>();
    c.lowers = j.at("lowers").get<std::vector<std::string>>();
    c.layers = j.at("layers").get<std::vector<std::string>>();
    c.root = j.at("root");
    c.init = j.at("init");
    c.init_place = j.at("init_place");
    c.first_id = j.at("first_id");
    c.env = j.at("env").get<decltype(c.env)>();
    c.user = j.at("user");
    c.workdir = j.at("workdir");
    c.open_files = j.at("open_files");
    c.capabilities = j.at("capabilities").get<std::vector<int>>();
    c.seccomp[0] = j.at("seccomp").at(0).get<std::vector<std::uint64_t>>();
    c.seccomp[1] = j.at("seccomp").at(1).get<std::vector<std::uint64_t>>();
    return c;
  } catch (const std::exception& e) {
    return fail(ErrorCode::kBadInput, "a keeper's configuration cannot be read: {}", e.what());
  }
}

}  // namespace hadal::sandbox
