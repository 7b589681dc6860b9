// hadal sandbox create, ls, exec and the rest: requests to the edge.
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli/options.h"
#include "cli/report.h"
#include "cli/sandbox_paths.h"
#include "sandbox/edge/client.h"
#include "sandbox/edge/text.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;
using sandbox::EdgeClient;

constexpr std::size_t kMostFile = 64 << 20;  // of one read or write

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

Result<Json> parse(const std::string& text) {
  Json j = Json::parse(text, nullptr, false);
  if (j.is_discarded()) return fail(ErrorCode::kInternal, "the edge's answer is not JSON");
  return j;
}

std::string base(const SandboxOptions& o) { return "/v1/sandboxes/" + sandbox::to_percent(o.sandbox); }

Status print(const SandboxOptions& o, const std::string& answer, const std::string& plain) {
  fmt::print("{}\n", o.json ? answer : plain);
  return {};
}

Status create(EdgeClient& client, const SandboxOptions& o) {
  // A folder of this host, or the name of a layer.
  std::error_code ignored;
  const bool folder = o.image.find('/') != std::string::npos || std::filesystem::is_directory(o.image, ignored);
  Json body = {{"image", folder ? std::filesystem::absolute(o.image).string() : o.image}};
  if (!o.workspace.empty()) body["workspace"] = o.workspace;
  if (!o.toolkits.empty()) {
    std::istringstream list(o.toolkits);
    for (std::string name; std::getline(list, name, ',');) body["toolkits"].push_back(name);
  }
  Json resources = Json::object();
  if (o.cpus >= 0) resources["cpus"] = o.cpus;
  if (o.memory_mb >= 0) resources["memory_mb"] = o.memory_mb;
  if (o.pids >= 0) resources["pids"] = o.pids;
  body["resources"] = resources;
  Json ttl = Json::object();
  if (o.idle_s >= 0) ttl["idle_s"] = o.idle_s;
  if (o.life_s >= 0) ttl["life_s"] = o.life_s;
  body["ttl"] = ttl;
  if (!o.job.empty()) body["job"] = o.job;
  if (!o.user.empty()) body["user"] = o.user;
  const std::string answer = HADAL_TRY(client.ask("POST", "/v1/sandboxes", text_of(body)));
  const Json made = HADAL_TRY(parse(answer));
  return print(o, answer, made.value("id", ""));
}

Status list(EdgeClient& client, const SandboxOptions& o) {
  const std::string answer =
      HADAL_TRY(client.ask("GET", "/v1/sandboxes" + (o.job.empty() ? "" : "?job=" + sandbox::to_percent(o.job))));
  if (o.json) return print(o, answer, "");
  const Json j = HADAL_TRY(parse(answer));
  fmt::print("{:24} {:9} {:10} {:>8} {:>9} {:>6}  {}\n", "ID", "STATE", "SUBSTRATE", "AGE", "MEMORY", "PROCS", "IMAGE");
  for (const Json& s : j.value("sandboxes", Json::array()))
    fmt::print("{:24} {:9} {:10} {:>7.0f}s {:>5.0f} MiB {:>6}  {}\n", s.value("id", ""), s.value("state", ""),
               s.value("substrate", ""), s.value("age_s", 0.0),
               static_cast<double>(s["use"].value("memory_bytes", std::int64_t{0})) / (1 << 20),
               s["use"].value("processes", 0), s.value("image", ""));
  return {};
}

std::string bytes_of(const Json& j, const char* name) {
  if (const auto it = j.find(name); it != j.end() && it->is_string()) return it->get<std::string>();
  if (const auto it = j.find(std::string(name) + "_base64"); it != j.end() && it->is_string())
    return sandbox::from_base64(it->get<std::string>()).value_or("");
  return "";
}

// The exit status of the command is this program's; 124 and 137 as timeout(1) and shells have it.
Result<int> exit_of(const Json& j) {
  const std::string status = j.value("status", "");
  if (status == "exited") return j.value("exit_code", 1);
  if (status == "not_started") return fail(ErrorCode::kUsage, "{}", j.value("reason", "the command was not started"));
  note("hadal: {}: {} processes were killed\n", status, j.value("killed", 0));
  if (status == "exec_timeout") return 124;
  return 128 + j.value("signal", 9);
}

Result<int> exec(EdgeClient& client, const SandboxOptions& o) {
  Json body = {{"argv", o.words}};
  if (o.words.size() == 1 && o.shell_line) body = {{"shell", o.words[0]}};
  if (!o.cwd.empty()) body["cwd"] = o.cwd;
  if (!o.user.empty()) body["user"] = o.user;
  if (o.timeout_s >= 0) body["timeout_s"] = o.timeout_s;
  if (o.read_input) {
    std::string input;
    char buffer[65536];
    while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, stdin)) input.append(buffer, n);
    body["stdin_base64"] = sandbox::base64(input);
  }
  if (o.json) {
    const std::string answer = HADAL_TRY(client.ask("POST", base(o) + "/exec", text_of(body)));
    fmt::print("{}\n", answer);
    const Json whole = HADAL_TRY(parse(answer));
    return exit_of(whole);
  }
  const std::string answer = HADAL_TRY(client.ask("POST", base(o) + "/exec", text_of(body)));
  const Json j = HADAL_TRY(parse(answer));
  for (const auto& [name, file] : {std::pair{"stdout", stdout}, {"stderr", stderr}}) {
    const std::string head = bytes_of(j, name), tail = bytes_of(j, (std::string(name) + "_tail").c_str());
    std::fwrite(head.data(), 1, head.size(), file);
    if (const auto dropped = j.value(std::string(name) + "_dropped", std::int64_t{0}); dropped > 0)
      note("\nhadal: {} bytes of {} were not kept\n", dropped, name);
    std::fwrite(tail.data(), 1, tail.size(), file);
  }
  return exit_of(j);
}

// Puts the terminal into raw mode, and back whatever happens.
class RawTerminal {
 public:
  RawTerminal() {
    if (::tcgetattr(0, &before_) != 0) return;
    struct termios raw = before_;
    ::cfmakeraw(&raw);
    set_ = ::tcsetattr(0, TCSANOW, &raw) == 0;
  }
  ~RawTerminal() {
    if (set_) ::tcsetattr(0, TCSANOW, &before_);
  }

 private:
  struct termios before_ = {};
  bool set_ = false;
};

Result<int> shell(EdgeClient& client, const SandboxOptions& o) {
  if (!::isatty(0)) return fail(ErrorCode::kUsage, "shell needs a terminal; use 'hadal sandbox exec' in scripts");
  struct winsize size = {24, 80, 0, 0};
  ::ioctl(0, TIOCGWINSZ, &size);
  const Json body = {{"argv", o.words.empty() ? std::vector<std::string>{"/bin/sh"} : o.words},
                     {"tty", true},
                     {"rows", size.ws_row},
                     {"columns", size.ws_col},
                     {"timeout_s", 0},
                     {"background", true}};
  const std::string answer = HADAL_TRY(client.ask("POST", base(o) + "/exec", text_of(body)));
  const Json started = HADAL_TRY(parse(answer));
  const std::string op = base(o) + "/operations/" + sandbox::to_percent(started.value("op", ""));
  const RawTerminal raw;
  EdgeClient typing(sandbox_socket(o));
  std::thread([&typing, op] {
    char buffer[4096];
    for (ssize_t n; (n = ::read(0, buffer, sizeof buffer)) > 0;)
      if (!typing.ask("POST", op + "/input", std::string(buffer, static_cast<std::size_t>(n)))) return;
  }).detach();
  Json end;
  HADAL_CHECK_OK(client.events("GET", op + "/output", "", [&](const std::string& name, const std::string& text) {
    const Json j = Json::parse(text, nullptr, false);
    if (name == "output") {
      const std::string bytes = sandbox::from_base64(j.value("base64", "")).value_or("");
      (void)!::write(1, bytes.data(), bytes.size());
    } else if (name == "end" || name == "error") {
      end = j;
    }
    return true;
  }));
  (void)client.ask("DELETE", op);
  return end.is_object() && end.contains("status") ? exit_of(end) : Result<int>(1);
}

// cp: one side is SANDBOX:PATH.
Status copy(EdgeClient& client, const SandboxOptions& o) {
  const auto split = [](const std::string& text) -> std::pair<std::string, std::string> {
    const auto colon = text.find(":/");
    return colon == std::string::npos || !text.starts_with("sb_")
               ? std::pair<std::string, std::string>{"", text}
               : std::pair{text.substr(0, colon), text.substr(colon + 1)};
  };
  const auto [from_box, from] = split(o.from);
  const auto [to_box, to] = split(o.to);
  if (from_box.empty() == to_box.empty())
    return fail(ErrorCode::kUsage, "cp: one of the two must be SANDBOX:/PATH and the other a file here");
  if (!from_box.empty()) {
    const std::string data = HADAL_TRY(client.ask(
        "GET", "/v1/sandboxes/" + sandbox::to_percent(from_box) + "/file?path=" + sandbox::to_percent(from)));
    std::ofstream out(to, std::ios::binary);
    out << data;
    out.close();
    if (!out) return fail(ErrorCode::kIo, "cp: cannot write {}", to);
    return {};
  }
  std::ifstream in(from, std::ios::binary);
  std::ostringstream data;
  data << in.rdbuf();
  if (!in) return fail(ErrorCode::kNotFound, "cp: cannot read {}", from);
  if (data.str().size() > kMostFile) return fail(ErrorCode::kUsage, "cp: {} has more than 64 MiB", from);
  const auto answer = HADAL_TRY(client.ask(
      "PUT", "/v1/sandboxes/" + sandbox::to_percent(to_box) + "/file?path=" + sandbox::to_percent(to), data.str()));
  return o.json ? print(o, answer, "") : Status();
}

Status call(EdgeClient& client, const SandboxOptions& o, const std::string& method, const std::string& what) {
  const std::string answer = HADAL_TRY(client.ask(method, base(o) + what));
  if (o.json) fmt::print("{}\n", answer);
  return {};
}

}  // namespace

int run_sandbox(const SandboxOptions& o, const std::string& what) {
  EdgeClient client(sandbox_socket(o));
  if (what == "exec" || what == "shell") {
    const Result<int> status = what == "exec" ? exec(client, o) : shell(client, o);
    return status ? *status : report(status.error());
  }
  const Status status = what == "create"   ? create(client, o)
                        : what == "ls"     ? list(client, o)
                        : what == "cp"     ? copy(client, o)
                        : what == "rm"     ? call(client, o, "DELETE", "")
                        : what == "pause"  ? call(client, o, "POST", "/pause")
                        : what == "resume" ? call(client, o, "POST", "/resume")
                                           : Status(fail(ErrorCode::kInternal, "no command {}", what));
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
