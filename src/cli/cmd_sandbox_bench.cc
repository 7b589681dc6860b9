// hadal sandbox bench: what a client waits for, through the edge's socket.
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/options.h"
#include "cli/report.h"
#include "cli/sandbox_paths.h"
#include "sandbox/edge/client.h"
#include "sandbox/probe/doctor.h"

extern char** environ;

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;
using sandbox::EdgeClient;
namespace fs = std::filesystem;

struct Row {
  std::string name;
  double p50_ms = 0, p99_ms = 0;
  int n = 0;
};

Row row(const std::string& name, std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double share) {
    return ms[static_cast<std::size_t>(share * static_cast<double>(ms.size() - 1) + 0.5)];
  };
  return {name, at(0.5), at(0.99), static_cast<int>(ms.size())};
}

// An edge in a folder of its own, and everything in it gone at the end.
class OwnEdge {
 public:
  static Result<std::unique_ptr<OwnEdge>> start() {
    std::unique_ptr<OwnEdge> e(new OwnEdge);
    std::string name = (fs::temp_directory_path() / "hadal-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return fail(ErrorCode::kIo, "cannot make a folder in {}", name);
    e->folder_ = name;
    fs::permissions(name, fs::perms(0711));
    HADAL_CHECK_OK(e->run());
    return e;
  }
  ~OwnEdge() {
    EdgeClient client(socket());
    if (const auto all = client.ask("GET", "/v1/sandboxes")) {
      const Json j = Json::parse(*all, nullptr, false);
      if (j.is_object())
        for (const Json& s : j.value("sandboxes", Json::array()))
          (void)client.ask("DELETE", "/v1/sandboxes/" + s.value("id", ""));
    }
    stop(SIGTERM);
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Status run() {
    std::string program = fs::read_symlink("/proc/self/exe").string(), data = folder_ + "/data";
    std::string words[] = {program, "sandbox", "up", "--data", data};
    std::vector<char*> argv;
    for (std::string& w : words) argv.push_back(w.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 2, (folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    const int failed = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) return fail(ErrorCode::kIo, "cannot start the edge");
    for (int i = 0; i < 10000; ++i) {
      if (EdgeClient(socket()).ask("GET", "/v1/capabilities")) return {};
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        std::string said;
        if (std::FILE* f = std::fopen((folder_ + "/log").c_str(), "r")) {
          char buffer[1000];
          said.assign(buffer, std::fread(buffer, 1, sizeof buffer, f));
          std::fclose(f);
        }
        return fail(ErrorCode::kUnsupported, "no edge can run here: {}", said);
      }
      ::usleep(1000);
    }
    return fail(ErrorCode::kIo, "the edge does not answer");
  }
  void stop(int signal) {
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::string socket() const { return folder_ + "/data/edge.sock"; }
  const std::string& folder() const { return folder_; }

 private:
  OwnEdge() = default;
  std::string folder_;
  pid_t pid_ = -1;
};

Result<std::string> busybox_image(const std::string& folder) {
  const std::string image = folder + "/image";
  std::error_code error;
  for (const char* d : {"bin", "etc", "tmp", "proc", "sys", "dev"}) fs::create_directories(image + "/" + d, error);
  fs::copy_file("/bin/busybox", image + "/bin/busybox", error);
  if (error) return fail(ErrorCode::kNotFound, "there is no /bin/busybox to make an image of; name one with --image");
  for (const char* tool : {"sh", "true", "echo", "cat", "sleep", "wc"})
    fs::create_symlink("busybox", image + "/bin/" + tool, error);
  return image;
}

template <class F>
Result<double> timed(F f) {
  const Stopwatch watch;
  if (const Status done = f(); !done) return std::unexpected(done.error());
  return watch.seconds() * 1e3;
}

// Calls that are logged beside the same calls that are not, and a thousand of them replayed by another client.
Status bench_trajectory(const OwnEdge& edge, const std::string& image, std::vector<Row>& rows) {
  constexpr int kCalls = 1000;
  EdgeClient client(edge.socket());
  const std::string spec = Json{
      {"image", image},
      {"trajectory", "bench"},
      {"resources", {{"memory_mb", 256}}},
      {"ttl", {{"idle_s", 0}}}}.dump();
  const auto attach = [&]() -> Result<Json> {
    const std::string answer = HADAL_TRY(client.ask("POST", "/v1/sandboxes", spec));
    return Json::parse(answer);
  };
  // Appends one byte, so that what ran can be counted.
  const auto call = [&](const Json& at, int seq, const char* source) -> Status {
    const Json body = {{"argv", {"/bin/sh", "-c", "echo >> /tmp/runs"}},
                       {"trajectory", "bench"},
                       {"epoch", at["epoch"]},
                       {"seq", seq}};
    const std::string answer =
        HADAL_TRY(client.ask("POST", "/v1/sandboxes/" + at.value("id", "") + "/exec", body.dump()));
    const Json j = Json::parse(answer, nullptr, false);
    if (!j.is_object() || j.value("exit_code", -1) != 0 || j.value("source", "") != source)
      return fail(ErrorCode::kInternal, "call {} of the trajectory: {}", seq, answer);
    return {};
  };
  const Json first = HADAL_TRY(attach());
  std::vector<double> ms;
  for (int i = 1; i <= kCalls && !interrupted(); ++i)
    ms.push_back(HADAL_TRY(timed([&] { return call(first, i, "live"); })));
  rows.push_back(row("exec_logged", ms));
  const double replayed = HADAL_TRY(timed([&]() -> Status {
    const Json second = HADAL_TRY(attach());
    for (int i = 1; i <= kCalls && !interrupted(); ++i) HADAL_CHECK_OK(call(second, i, "log"));
    return {};
  }));
  const std::string runs = HADAL_TRY(
      client.ask("POST", "/v1/sandboxes/" + first.value("id", "") + "/exec", R"({"shell":"cat /tmp/runs | wc -c"})"));
  const Json counted = Json::parse(runs, nullptr, false);
  if (counted.value("stdout", "") != fmt::format("{}\n", kCalls))
    return fail(ErrorCode::kInternal, "{} calls ran this often: {}", kCalls, counted.value("stdout", ""));
  rows.push_back({"fast_forward_1000", replayed, replayed, 1});
  HADAL_TRY(client.ask("DELETE", "/v1/sandboxes/" + first.value("id", "")));
  return {};
}

Status bench(const SandboxOptions& o) {
  const auto edge = HADAL_TRY(OwnEdge::start());
  const std::string image = o.image.empty() ? HADAL_TRY(busybox_image(edge->folder())) : fs::absolute(o.image).string();
  const int n = o.count > 0 ? static_cast<int>(o.count) : 30;
  const auto spec_with = [&](double cpus) {
    return Json{{"image", image}, {"resources", {{"memory_mb", 256}, {"cpus", cpus}}}, {"ttl", {{"idle_s", 0}}}}.dump();
  };
  // Two hundred with a processor each would be refused on a small host, by admission's own rule.
  const std::string one = spec_with(1), small = spec_with(0.1);
  const std::string command = Json{{"argv", {"/bin/true"}}}.dump();
  EdgeClient client(edge->socket());
  const auto create = [&](EdgeClient& c, const std::string& spec) -> Result<std::string> {
    const std::string answer = HADAL_TRY(c.ask("POST", "/v1/sandboxes", spec));
    return Json::parse(answer).value("id", "");
  };
  const auto exec = [&](EdgeClient& c, const std::string& id) -> Status {
    const std::string answer = HADAL_TRY(c.ask("POST", "/v1/sandboxes/" + id + "/exec", command));
    const Json j = Json::parse(answer, nullptr, false);
    if (!j.is_object() || j.value("exit_code", -1) != 0)
      return fail(ErrorCode::kInternal, "/bin/true failed: {}", j.dump());
    return {};
  };
  std::vector<Row> rows;
  Progress progress("measuring", "runs", 3 * n + 2 * 200);
  std::int64_t done = 0;

  std::vector<double> ms;
  for (int i = 0; i < n && !interrupted(); ++i) {
    std::string id;
    const auto took = timed([&]() -> Status {
      id = HADAL_TRY(create(client, one));
      return exec(client, id);
    });
    if (!took) return std::unexpected(took.error());
    ms.push_back(*took);
    HADAL_TRY(client.ask("DELETE", "/v1/sandboxes/" + id));
    progress.update(++done);
  }
  rows.push_back(row("container_create", ms));

  const std::string id = HADAL_TRY(create(client, one));
  ms.clear();
  for (int i = 0; i < 2 * n && !interrupted(); ++i) {
    // An agent thinks between commands; without a pause this would measure the making of spares.
    ::usleep(20'000);
    ms.push_back(HADAL_TRY(timed([&] { return exec(client, id); })));
    progress.update(++done);
  }
  rows.push_back(row("exec", ms));
  ms.clear();
  for (int i = 0; i < n && !interrupted(); ++i) ms.push_back(HADAL_TRY(timed([&] { return exec(client, id); })));
  rows.push_back(row("exec_back_to_back", ms));
  ms.clear();
  for (int i = 0; i < n && !interrupted(); ++i) {
    ::usleep(20'000);
    const auto took = timed([&]() -> Status {
      HADAL_TRY(client.ask("PUT", "/v1/sandboxes/" + id + "/file?path=/tmp/f", "some bytes"));
      return {};
    });
    if (!took) return std::unexpected(took.error());
    ms.push_back(*took);
  }
  rows.push_back(row("file_write", ms));

  HADAL_CHECK_OK(bench_trajectory(*edge, image, rows));

  // The burst, and the edge started again under it.
  constexpr int kBurst = 200;
  const auto burst = timed([&]() -> Status {
    std::vector<std::future<Status>> workers;
    for (int w = 0; w < 8; ++w)
      workers.push_back(std::async(std::launch::async, [&]() -> Status {
        EdgeClient own(edge->socket());
        for (int i = 0; i < kBurst / 8; ++i) {
          const std::string made = HADAL_TRY(create(own, small));
          HADAL_CHECK_OK(exec(own, made));
        }
        return {};
      }));
    Status all;
    for (auto& w : workers)
      if (const Status s = w.get(); !s) all = s;
    return all;
  });
  if (!burst) return std::unexpected(burst.error());
  rows.push_back({"burst_200", *burst, *burst, 1});
  progress.update(done += kBurst);
  edge->stop(SIGKILL);
  const double restart = HADAL_TRY(timed([&] { return edge->run(); }));
  EdgeClient again(edge->socket());
  const std::string after = HADAL_TRY(again.ask("GET", "/v1/sandboxes"));
  const Json left = Json::parse(after, nullptr, false);
  std::size_t running = 0;
  for (const Json& s : left.value("sandboxes", Json::array())) running += s.value("state", "") == "running" ? 1 : 0;
  if (running != kBurst + 1)
    return fail(ErrorCode::kInternal, "{} of {} sandboxes are there after the edge was killed and started again",
                running, kBurst + 1);
  rows.push_back({"edge_restart_200", restart, restart, 1});
  progress.finish();

  if (!o.json) {
    fmt::print("{:20} {:>10} {:>10} {:>5}\n", "", "p50", "p99", "n");
    for (const Row& r : rows) fmt::print("{:20} {:>7.2f} ms {:>7.2f} ms {:>5}\n", r.name, r.p50_ms, r.p99_ms, r.n);
    return {};
  }
  Json list = Json::array();
  for (const Row& r : rows) list.push_back({{"name", r.name}, {"p50_ms", r.p50_ms}, {"p99_ms", r.p99_ms}, {"n", r.n}});
  Json host = Json::object();
  sandbox::DoctorOptions doctor;
  doctor.keeper = keeper_program();
  for (const auto& c : sandbox::examine_host(doctor)) host[c.name] = c.available ? c.detail : "no: " + c.detail;
  double load[1] = {0};
  ::getloadavg(load, 1);
  const Json j = {
      {"machine", Json::parse(machine_json(machine_info()))}, {"host", host}, {"load", load[0]}, {"rows", list}};
  fmt::print("{}\n", j.dump(-1, ' ', false, Json::error_handler_t::replace));
  return {};
}

}  // namespace

int run_sandbox_bench(const SandboxOptions& o) {
  const Status status = bench(o);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
