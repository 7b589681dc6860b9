// hadal sandbox up: the edge of this machine, and doctor.
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/options.h"
#include "cli/report.h"
#include "cli/sandbox_paths.h"
#include "sandbox/container/container.h"
#include "sandbox/edge/api.h"
#include "sandbox/edge/edge.h"
#include "sandbox/edge/edge_executor.h"
#include "sandbox/log/file_log.h"
#include "sandbox/probe/doctor.h"
#include "serve/http.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

int stop_pipe[2] = {-1, -1};
void on_stop(int) {
  const char byte = 0;
  (void)!write(stop_pipe[1], &byte, 1);
}

// An HTTP exchange as the edge's API sees it.
class ExchangeReply final : public sandbox::ApiReply {
 public:
  explicit ExchangeReply(std::shared_ptr<serve::Exchange> exchange) : exchange_(std::move(exchange)) {}
  void send(int status, const std::string& type, std::string body) override {
    exchange_->send({status, type, {}, std::move(body)});
  }
  void start() override {
    // A comment line now and then keeps proxies from closing a quiet stream.
    exchange_->start({200, "text/event-stream", {{"Cache-Control", "no-store"}}, ""}, ": \n\n", 15);
  }
  void event(const std::string& name, const std::string& json) override {
    exchange_->write("event: " + name + "\ndata: " + json + "\n\n");
  }
  void finish() override { exchange_->finish(); }
  std::size_t unsent() const override { return exchange_->unsent(); }

 private:
  std::shared_ptr<serve::Exchange> exchange_;
};

Status up(const SandboxOptions& options) {
  const std::string data = sandbox_data(options);
  std::error_code made;
  std::filesystem::create_directories(data, made);
  if (made) return fail(ErrorCode::kIo, "cannot make {}: {}", data, made.message());
  if (pipe(stop_pipe) != 0) return fail(ErrorCode::kIo, "the system gives no more descriptors");
  std::signal(SIGTERM, on_stop);
  std::signal(SIGINT, on_stop);
  std::signal(SIGPIPE, SIG_IGN);

  std::vector<std::unique_ptr<sandbox::Substrate>> substrates;
  sandbox::ContainerOptions containers;
  containers.data = data;
  containers.keeper = keeper_program();
  auto layer_folder = HADAL_TRY(sandbox::LayerFolder::open(data + "/store"));
  const auto layers = HADAL_TRY(sandbox::LayerMounts::open(std::move(layer_folder), data + "/mounts"));
  containers.layers = layers;
  substrates.push_back(HADAL_TRY(sandbox::open_containers(containers)));
  sandbox::EdgeOptions edge_options;
  edge_options.data = data;
  edge_options.layers = layers;
  if (options.most > 0) edge_options.most_sandboxes = options.most;
  Stopwatch watch;
  auto edge = HADAL_TRY(sandbox::Edge::open(edge_options, std::move(substrates)));
  const auto log = HADAL_TRY(sandbox::FileLog::open(data + "/log"));
  sandbox::EdgeExecutor executor(*edge);
  auto blobs = HADAL_TRY(sandbox::Blobs::open(data + "/blobs"));
  auto replay = HADAL_TRY(sandbox::Replay::open(*log, std::move(blobs), executor));
  HADAL_CHECK_OK(replay->settle());
  replay->run();
  auto api = std::make_unique<sandbox::EdgeApi>(*edge, replay, layers);

  serve::HttpOptions http;
  http.port = -1;
  http.unix_path = sandbox_socket(options);
  http.workers = 16;                  // a create or a close holds one for its whole time, mostly waiting
  http.limits.body_bytes = 80 << 20;  // a file of 64 MiB
  const mode_t before = umask(0177);  // who may connect may do anything
  auto server = serve::HttpServer::start(
      http,
      [&api](std::shared_ptr<serve::Exchange> exchange) {
        const serve::Request& r = exchange->request();
        api->handle({r.method, r.path, r.query, r.body}, std::make_shared<ExchangeReply>(exchange));
      },
      [](std::string_view, int status, const std::string& sentence) {
        serve::Response response;
        response.status = status;
        response.body = sandbox::api_error({ErrorCode::kUsage, sentence}).body;
        return response;
      });
  umask(before);
  if (!server) return std::unexpected(server.error());
  note("the edge listens at {}; {} sandboxes were alive, ready after {:.0f} ms\n", http.unix_path, edge->adopted(),
       watch.seconds() * 1e3);
  char byte = 0;
  while (read(stop_pipe[0], &byte, 1) < 0 && errno == EINTR) {
  }
  note("the edge stops; sandboxes stay alive\n");
  constexpr double kFarewellSeconds = 2;
  (*server)->drain(kFarewellSeconds);
  server->reset();
  api.reset();
  replay.reset();  // what its sandboxes do from here on is for the next edge
  return {};
}

int doctor(const SandboxOptions& options) {
  sandbox::DoctorOptions o;
  o.keeper = keeper_program();
  const auto rows = sandbox::examine_host(o);
  if (options.json) {
    Json list = Json::array();
    for (const auto& c : rows)
      list.push_back({{"name", c.name}, {"available", c.available}, {"detail", c.detail}, {"remedy", c.remedy}});
    fmt::print("{}\n", Json{{"host", list}}.dump(-1, ' ', false, Json::error_handler_t::replace));
    return 0;
  }
  for (const auto& c : rows) {
    fmt::print("{:4} {:18} {}\n", c.available ? "yes" : "no", c.name, c.detail);
    if (!c.available && !c.remedy.empty()) fmt::print("{:24}remedy: {}\n", "", c.remedy);
  }
  return 0;
}

}  // namespace

int run_sandbox_up(const SandboxOptions& options) {
  const Status status = up(options);
  return status ? 0 : report(status.error());
}

int run_sandbox_doctor(const SandboxOptions& options) { return doctor(options); }

std::string sandbox_data(const SandboxOptions& options) {
  return options.data.empty() ? "/var/lib/hadal/sandbox" : std::filesystem::absolute(options.data).string();
}

std::string sandbox_socket(const SandboxOptions& options) { return sandbox_data(options) + "/edge.sock"; }

std::string keeper_program() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string() + "/hadal-keeper";
}

}  // namespace hadal::cli
