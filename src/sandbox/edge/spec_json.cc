#include "sandbox/edge/spec_json.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "sandbox/edge/text.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Takes fields out of an object one by one; the first mistake is kept.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) complain("must be an object");
  }
  bool take(const char* name, std::string& to) {
    return with(name, "a string", [&](const Json& j) {
      if (!j.is_string()) return false;
      to = j.get<std::string>();
      return to.find('\0') == std::string::npos;
    });
  }
  bool take(const char* name, bool& to) {
    return with(name, "true or false", [&](const Json& j) { return j.is_boolean() && (to = j.get<bool>(), true); });
  }
  bool take(const char* name, double& to, double least, double most) {
    return with(name, fmt::format("a number from {} to {}", least, most).c_str(), [&](const Json& j) {
      if (!j.is_number()) return false;
      const double v = j.get<double>();
      if (!std::isfinite(v) || v < least || v > most) return false;
      to = v;
      return true;
    });
  }
  template <class T>
  bool take_whole(const char* name, T& to, std::int64_t least, std::int64_t most, std::int64_t unit = 1) {
    return with(name, fmt::format("a whole number from {} to {}", least, most).c_str(), [&](const Json& j) {
      if (!j.is_number_integer() || (j.is_number_unsigned() && j.get<std::uint64_t>() > INT64_MAX)) return false;
      const auto v = j.get<std::int64_t>();
      if (v < least || v > most) return false;
      to = static_cast<T>(v * unit);
      return true;
    });
  }
  bool take(const char* name, std::vector<std::string>& to) {
    return with(name, "a list of strings", [&](const Json& j) {
      if (!j.is_array()) return false;
      for (const Json& e : j) {
        if (!e.is_string() || e.get<std::string>().find('\0') != std::string::npos) return false;
        to.push_back(e.get<std::string>());
      }
      return true;
    });
  }
  bool take(const char* name, std::vector<std::pair<std::string, std::string>>& to) {
    return with(name, "an object of strings", [&](const Json& j) {
      if (!j.is_object()) return false;
      for (const auto& [key, value] : j.items()) {
        if (!value.is_string() || key.empty() || key.find('=') != std::string::npos ||
            key.find('\0') != std::string::npos)
          return false;
        to.emplace_back(key, value.get<std::string>());
      }
      return true;
    });
  }
  const Json* object(const char* name) {
    const auto it = object_.find(name);
    if (!object_.is_object() || it == object_.end()) return nullptr;
    ++used_;
    if (!it->is_object()) complain(fmt::format("'{}' must be an object", name));
    return &*it;
  }
  const Json* list(const char* name) {
    const auto it = object_.find(name);
    if (!object_.is_object() || it == object_.end()) return nullptr;
    ++used_;
    if (!it->is_array()) complain(fmt::format("'{}' must be a list", name));
    return it->is_array() ? &*it : nullptr;
  }
  void know(const char* name) { known_.emplace_back(name); }
  void complain(const std::string& what) {
    if (status_) status_ = fail(ErrorCode::kUsage, "{}: {}", where_, what);
  }
  // Everything there has been taken, or the first thing that was not is named.
  Status done() {
    if (status_ && object_.is_object() && used_ < object_.size())
      for (const auto& [key, value] : object_.items())
        if (std::find(known_.begin(), known_.end(), key) == known_.end())
          complain(fmt::format("there is no field '{:.60}'", key));
    return status_;
  }

 private:
  template <class F>
  bool with(const char* name, const char* what, F f) {
    know(name);
    if (!object_.is_object()) return false;
    const auto it = object_.find(name);
    if (it == object_.end() || it->is_null()) {
      if (it != object_.end()) ++used_;
      return false;
    }
    ++used_;
    if (f(*it)) return true;
    complain(fmt::format("'{}' must be {}", name, what));
    return false;
  }

  const Json& object_;
  std::string where_;
  Status status_;
  std::size_t used_ = 0;
  std::vector<std::string> known_;
};

Result<Json> parse(std::string_view text, const char* what) {
  Json j = Json::parse(text, nullptr, false);
  if (j.is_discarded()) return fail(ErrorCode::kUsage, "{}: the body is not JSON", what);
  return j;
}

void put_bytes(Json& j, const std::string& name, const std::string& bytes) {
  if (is_utf8(bytes))
    j[name] = bytes;
  else
    j[name + "_base64"] = base64(bytes);
}

}  // namespace

Result<CreateSpec> parse_create(std::string_view text) {
  const Json j = HADAL_TRY(parse(text, "create"));
  CreateSpec s;
  Fields f(j, "create");
  std::string substrate, qos;
  if (f.take("substrate", substrate)) s.substrate = HADAL_TRY(parse_substrate(substrate));
  f.take("image", s.image);
  f.take("workspace", s.workspace);
  f.take("toolkits", s.toolkits);
  f.take("snapshot", s.snapshot);
  f.know("resources");
  if (const Json* r = f.object("resources")) {
    Fields g(*r, "create: resources");
    // 1e6 processors and 2^40 MiB are more than any host; the bounds keep arithmetic exact.
    g.take("cpus", s.resources.cpus, 0, 1e6);
    g.take_whole("memory_mb", s.resources.memory_bytes, 0, std::int64_t{1} << 40, 1 << 20);
    if (g.take_whole("disk_mb", s.resources.disk_bytes, 0, std::int64_t{1} << 40, 1 << 20))
      return fail(ErrorCode::kUnsupported,
                  "create: resources: disk_mb: this host has no disk quota for sandboxes yet; leave it out");
    g.take_whole("pids", s.resources.pids, 0, 4'194'304);
    g.take_whole("open_files", s.resources.open_files, 16, 1'048'576);
    g.take_whole("gpus", s.resources.gpus, 0, 1024);
    HADAL_CHECK_OK(g.done());
  }
  if (f.take("qos", qos)) {
    if (qos != "bulk" && qos != "latency") f.complain("'qos' must be bulk or latency");
    s.qos = qos == "latency" ? Qos::kLatency : Qos::kBulk;
  }
  f.know("ttl");
  if (const Json* t = f.object("ttl")) {
    Fields g(*t, "create: ttl");
    std::string on_idle;
    g.take("idle_s", s.ttl.idle_s, 0, 1e9);
    g.take("life_s", s.ttl.life_s, 0, 1e9);
    g.take("paused_s", s.ttl.paused_s, 0, 1e9);
    if (g.take("on_idle", on_idle)) {
      if (on_idle != "pause" && on_idle != "stop") g.complain("'on_idle' must be pause or stop");
      s.ttl.stop_on_idle = on_idle == "stop";
    }
    HADAL_CHECK_OK(g.done());
  }
  f.know("files");
  if (const Json* files = f.list("files"))
    for (const Json& entry : *files) {
      Fields g(entry, "create: files");
      InitialFile file;
      std::string coded;
      g.take("path", file.path);
      g.take("data", file.data);
      if (g.take("data_base64", coded)) {
        const auto bytes = from_base64(coded);
        if (!bytes) g.complain("'data_base64' is not base 64");
        file.data = bytes.value_or("");
      }
      g.take_whole("mode", file.mode, 0, 07777);
      if (!file.path.starts_with("/")) g.complain("'path' must begin with /");
      HADAL_CHECK_OK(g.done());
      s.files.push_back(std::move(file));
    }
  f.take("env", s.env);
  f.take("user", s.user);
  f.take("workdir", s.workdir);
  f.know("protect");
  if (const Json* p = f.object("protect")) {
    Fields g(*p, "create: protect");
    g.take("hidden", s.hidden_paths);
    g.take("read_only", s.read_only_paths);
    HADAL_CHECK_OK(g.done());
  }
  f.know("network");
  if (const Json* n = f.object("network"); n != nullptr && !n->empty())
    return fail(ErrorCode::kUnsupported, "create: network: sandboxes here have loopback only; leave it out");
  f.take("trajectory", s.trajectory);
  f.take("log", s.log);
  if (s.log != "full" && s.log != "results" && s.log != "off") f.complain("'log' must be full, results or off");
  f.take("job", s.job);
  f.take("labels", s.labels);
  f.take("idempotency_key", s.idempotency_key);
  HADAL_CHECK_OK(f.done());
  return s;
}

std::string create_json(const CreateSpec& s) {
  const auto object = [](const std::vector<std::pair<std::string, std::string>>& pairs) {
    Json o = Json::object();
    for (const auto& [k, v] : pairs) o[k] = v;
    return o;
  };
  const Resources& r = s.resources;
  const Json j = {{"substrate", substrate_name(s.substrate)},
                  {"image", s.image},
                  {"workspace", s.workspace},
                  {"toolkits", s.toolkits},
                  {"resources",
                   {{"cpus", r.cpus},
                    {"memory_mb", r.memory_bytes >> 20},
                    {"pids", r.pids},
                    {"open_files", r.open_files},
                    {"gpus", r.gpus}}},
                  {"qos", s.qos == Qos::kLatency ? "latency" : "bulk"},
                  {"ttl",
                   {{"idle_s", s.ttl.idle_s},
                    {"life_s", s.ttl.life_s},
                    {"on_idle", s.ttl.stop_on_idle ? "stop" : "pause"},
                    {"paused_s", s.ttl.paused_s}}},
                  {"env", object(s.env)},
                  {"user", s.user},
                  {"workdir", s.workdir},
                  {"protect", {{"hidden", s.hidden_paths}, {"read_only", s.read_only_paths}}},
                  {"trajectory", s.trajectory},
                  {"log", s.log},
                  {"job", s.job},
                  {"labels", object(s.labels)},
                  {"idempotency_key", s.idempotency_key}};
  return text_of(j);
}

std::string canonical_exec(std::string_view text) {
  nlohmann::json j = nlohmann::json::parse(text, nullptr, false);  // sorted keys
  if (!j.is_object()) return "{}";
  for (const char* name : {"trajectory", "epoch", "seq", "op", "idempotent", "stream"}) j.erase(name);
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<ExecCall> parse_exec(std::string_view text) {
  const Json j = HADAL_TRY(parse(text, "exec"));
  ExecCall c;
  ExecRequest& q = c.request;
  Fields f(j, "exec");
  std::string shell, coded;
  f.take("op", c.op);
  if (c.op.size() > 200) f.complain("'op' must have at most 200 bytes");
  f.take("argv", q.argv);
  if (f.take("shell", shell)) {
    if (!q.argv.empty()) f.complain("give 'argv' or 'shell', not both");
    q.argv = {"/bin/sh", "-c", shell};
  }
  if (q.argv.empty() || q.argv[0].empty()) f.complain("'argv' or 'shell' must name a command");
  f.take("cwd", q.cwd);
  f.take("user", q.user);
  f.take("env", q.env);
  f.take("stdin", q.stdin_data);
  if (f.take("stdin_base64", coded)) {
    const auto bytes = from_base64(coded);
    if (!bytes) f.complain("'stdin_base64' is not base 64");
    q.stdin_data = bytes.value_or("");
  }
  f.take("stdin_open", q.stdin_open);
  f.take("tty", q.tty);
  f.take_whole("rows", q.rows, 1, 1000);
  f.take_whole("columns", q.columns, 1, 1000);
  f.take("timeout_s", q.timeout_s, 0, 1e7);
  f.take("grace_s", q.grace_s, 0, 60);
  f.take_whole("output_bytes", q.output_bytes, 0, 64 << 20);
  f.take("background", q.background);
  f.take("trajectory", c.trajectory);
  f.take_whole("epoch", c.epoch, 0, std::numeric_limits<std::int64_t>::max());
  f.take_whole("seq", c.seq, 1, std::numeric_limits<std::int64_t>::max());
  f.take("idempotent", c.idempotent);
  if (c.trajectory.empty() && (c.epoch > 0 || c.seq > 0 || c.idempotent))
    f.complain("'epoch', 'seq' and 'idempotent' are of a 'trajectory', which is missing");
  f.take("stream", c.stream);
  if (q.tty) q.stdin_open = true;
  q.follow = c.stream;
  HADAL_CHECK_OK(f.done());
  return c;
}

std::string info_json(const SandboxInfo& i) {
  Json labels = Json::object();
  for (const auto& [k, v] : i.labels) labels[k] = v;
  Json j = {{"id", i.id},
            {"substrate", substrate_name(i.substrate)},
            {"state", state_name(i.state)},
            {"image", i.image},
            {"job", i.job},
            {"labels", labels},
            {"age_s", i.age_s},
            {"idle_s", i.idle_s},
            {"operations", i.operations},
            {"limits",
             {{"cpus", i.resources.cpus},
              {"memory_bytes", i.resources.memory_bytes},
              {"pids", i.resources.pids},
              {"open_files", i.resources.open_files}}},
            {"use",
             {{"memory_bytes", i.usage.memory_bytes},
              {"memory_peak_bytes", i.usage.memory_peak_bytes},
              {"processes", i.usage.processes},
              {"cpu_s", i.usage.cpu_s}}},
            {"phases_ms",
             {{"queued", i.phases.queued_ms},
              {"placed", i.phases.placed_ms},
              {"image", i.phases.image_ms},
              {"boot", i.phases.boot_ms},
              {"agent", i.phases.agent_ms}}}};
  if (!i.reason.empty()) j["reason"] = i.reason;
  return text_of(j);
}

std::string result_json(const std::string& op, const ExecResult& r) {
  return with_fields(text_of(Json{{"op", op}, {"source", "live"}}), result_fields(r));
}

std::string with_fields(const std::string& first, const std::string& more) {
  return first.substr(0, first.size() - 1) + "," + more.substr(1);
}

std::string result_fields(const ExecResult& r) {
  Json j = {{"status", exec_status_name(r.status)}};
  if (r.status == ExecStatus::kExited || r.exit_code >= 0) j["exit_code"] = r.exit_code;
  if (r.signal != 0) j["signal"] = r.signal;
  if (!r.reason.empty()) j["reason"] = r.reason;
  const auto stream = [&](const std::string& name, const CapturedOutput& o) {
    put_bytes(j, name, o.head);
    if (o.dropped() > 0 || !o.tail.empty()) {
      put_bytes(j, name + "_tail", o.tail);
      j[name + "_dropped"] = o.dropped();
    }
  };
  stream("stdout", r.out);
  stream("stderr", r.err);
  j["truncated"] = r.out.dropped() > 0 || r.err.dropped() > 0;
  if (r.killed > 0) j["killed"] = r.killed;
  j["usage"] = {{"wall_s", r.usage.wall_s},
                {"user_s", r.usage.user_s},
                {"system_s", r.usage.system_s},
                {"max_resident_bytes", r.usage.max_resident_bytes}};
  return text_of(j);
}

std::string file_info_json(const FileInfo& i) {
  Json j = {{"name", i.name}, {"type", std::string(1, i.type)}, {"mode", i.mode}, {"uid", i.uid}, {"gid", i.gid},
            {"size", i.size}, {"modified_ns", i.modified_ns}};
  if (i.type == 'l') j["target"] = i.target;
  return text_of(j);
}

}  // namespace hadal::sandbox
