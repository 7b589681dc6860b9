// hadal serve: the HTTP server.
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/report.h"
#include "files/atomic_file.h"
#include "serve/http.h"
#include "serve/service.h"
#include "sessions/scheduler.h"
#include "sessions/session_store.h"

namespace hadal::cli {
namespace {

int stop_pipe[2] = {-1, -1};

void on_stop(int) {
  const char one = 1;
  (void)!write(stop_pipe[1], &one, 1);  // a full pipe has the byte already
}

// A stream needs a descriptor; the soft limit is often 1,024 where thousands are allowed.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

bool is_loopback(const std::string& host) { return host == "::1" || host.starts_with("127."); }

Status write_ready_file(const std::string& path, const std::string& url) {
  AtomicFile file = HADAL_TRY(AtomicFile::create(path));
  const std::string text = url + "\n";
  file.write(text.data(), text.size());
  return file.commit();
}

Result<std::optional<WindowPolicy>> window_policy(const std::string& word) {
  if (word == "auto") return std::nullopt;
  if (word == "full") return WindowPolicy{WindowPolicy::Kind::kFull, 0};
  if (word == "none") return WindowPolicy{WindowPolicy::Kind::kNone, 0};
  Position period = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), period);
  if (error != std::errc() || end != word.data() + word.size() || period < 1)
    return fail(ErrorCode::kUsage, "--cache-windows {}: is none of auto, full, none and a number of tokens", word);
  return WindowPolicy{WindowPolicy::Kind::kPeriodic, period};
}

// What the folder holds, and what of the last process goes on.
Status tell_resumed(Scheduler& scheduler, const std::string& data) {
  if (!scheduler.sessions()) return {};
  const std::size_t sessions = HADAL_TRY(scheduler.sessions()->list()).size();
  const Resumed r = scheduler.resumed();
  note("{} session{} in {}", sessions, sessions == 1 ? "" : "s", data);
  if (r.going_on + r.waiting + r.unreadable == 0) {
    note(", no answer was interrupted\n");
    return {};
  }
  note("; interrupted answers: {} go on, {} wait to be asked for again", r.going_on, r.waiting);
  if (r.unreadable > 0) note(", {} cannot be read", r.unreadable);
  note("\n");
  return {};
}

Status serve(const ServeOptions& options) {
  serve::ServiceOptions service_options;
  if (!options.key_file.empty()) service_options.keys = HADAL_TRY(serve::Keys::read(options.key_file));
  if (service_options.keys.empty() && !is_loopback(options.host) && (options.port >= 0 || options.unix_path.empty()))
    return fail(
        ErrorCode::kUsage,
        "--host {} lets other machines in, and there is no key; give --api-key-file, and put a proxy with TLS in "
        "front",
        options.host);
  const auto windows = HADAL_TRY(window_policy(options.cache_windows));
  if (!options.rewrite_file.empty())
    service_options.rewriting = HADAL_TRY(serve::Rewriting::read(options.rewrite_file));
  if (!options.trace_file.empty()) service_options.trace = HADAL_TRY(serve::Trace::open(options.trace_file));
  service_options.strict = options.strict;
  raise_descriptor_limit();

  auto checkpoint = HADAL_TRY(Checkpoint::open(model_files(options.model)));
  service_options.generation =
      checkpoint->chat_generation() == ChatGeneration::k0731 ? chat::Generation::k0731 : chat::Generation::kPreview;
  if (!options.format.empty()) service_options.generation = HADAL_TRY(chat::parse_generation(options.format));
  service_options.model = options.model_name;
  if (service_options.model.empty()) {
    std::filesystem::path directory = std::filesystem::path(options.model).lexically_normal();
    if (!directory.has_filename()) directory = directory.parent_path();
    service_options.model = options.model.empty() ? "nano" : directory.filename().string();
  }
  if (!options.data.empty()) {
    constexpr std::uint64_t kMostTokenizer = std::uint64_t{64} << 20;  // the official tokenizer.json has 6 MB
    const std::string tokenizer = HADAL_TRY(checkpoint->files().read_text("tokenizer.json", kMostTokenizer));
    service_options.turns = std::make_shared<serve::Turns>(HADAL_TRY(serve::open_turn_memory(options.data, tokenizer)));
  }
  EngineOptions engine_options;
  engine_options.reference = options.numerics == "reference";
  engine_options.model.numerics.fast = options.numerics == "trained";
  engine_options.model.threads = options.threads;
  engine_options.expert_memory = options.expert_memory;
  engine_options.repack_cache = options.repack_cache;
  SchedulerOptions scheduler_options;
  scheduler_options.running = options.running;
  scheduler_options.waiting = options.waiting;
  scheduler_options.data = options.data;
  scheduler_options.cache_memory = options.cache_memory;
  scheduler_options.cache_disk = options.cache_disk;
  scheduler_options.cache_windows = windows;
  scheduler_options.model_name = service_options.model;
  Engine engine = HADAL_TRY(Engine::open(checkpoint, engine_options));
  auto scheduler = HADAL_TRY(Scheduler::start(std::move(engine), scheduler_options));
  HADAL_CHECK_OK(tell_resumed(*scheduler, options.data));

  if (pipe(stop_pipe) != 0) return fail(ErrorCode::kIo, "the system gives no more descriptors");
  std::signal(SIGTERM, on_stop);
  std::signal(SIGINT, on_stop);
  std::signal(SIGPIPE, SIG_IGN);

  serve::HttpOptions http;
  http.host = options.host;
  http.port = options.port < 0 ? (options.unix_path.empty() ? kDefaultPort : -1) : options.port;
  http.unix_path = options.unix_path;
  http.limits.body_bytes = static_cast<std::size_t>(options.max_body);
  http.limits.bodies_bytes = std::max(http.limits.bodies_bytes, 2 * http.limits.body_bytes);
  const bool tcp = http.port >= 0;
  auto service = std::make_unique<serve::Service>(std::move(scheduler), std::move(service_options));
  auto server = HADAL_TRY(serve::HttpServer::start(
      http, [&service](std::shared_ptr<serve::Exchange> e) { service->handle(std::move(e)); },
      [&service](std::string_view path, int status, const std::string& sentence) {
        return service->refuse(path, status, sentence);
      }));
  service->set_counters([&transport = *server] { return transport.counters(); });

  const bool six = options.host.find(':') != std::string::npos;
  const std::string url =
      tcp ? fmt::format("http://{}{}{}:{}", six ? "[" : "", options.host, six ? "]" : "", server->port())
          : "unix:" + options.unix_path;
  if (!options.ready_file.empty()) HADAL_CHECK_OK(write_ready_file(options.ready_file, url));
  note("serving at {}{}\n", url, tcp && !options.unix_path.empty() ? " and unix:" + options.unix_path : "");

  char byte = 0;
  while (read(stop_pipe[0], &byte, 1) < 0 && errno == EINTR) {
  }
  note("stopping: no new requests, running ones stop at a token\n");
  service->drain();
  constexpr double kFarewellSeconds = 10;  // for the last bytes to reach clients
  server->drain(kFarewellSeconds);
  service->set_counters(nullptr);
  server.reset();
  if (!options.ready_file.empty()) unlink(options.ready_file.c_str());
  return {};
}

}  // namespace

int run_serve(const ServeOptions& options) {
  Status status = serve(options);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
