#include "sandbox/container/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "sandbox/container/child.h"
#include "sandbox/container/keeper_operation.h"
#include "sandbox/container/keeper_wire.h"
#include "sandbox/container/launch.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;
using namespace std::chrono_literals;

constexpr std::size_t kMostRunning = 64;        // operations in flight of one sandbox
constexpr std::size_t kMostKnown = 1024;        // with those the edge has not confirmed
constexpr std::int64_t kMostBytes = 256 << 20;  // of output kept for all of them
constexpr std::size_t kMostInput = 4 << 20;     // waiting for one command that does not read
constexpr std::size_t kQueue = 512 << 10;       // to the edge; the rest waits in the operations
constexpr double kLaunchSeconds = 20;
// After a command's exit its pipes may be held open by what it left behind: an answer waits until they are quiet for
// kQuiet, at most kDrain.
constexpr auto kQuiet = 50ms, kDrain = 1000ms;
constexpr auto kSpareDelay = 3ms;  // the next spare is made when the answer of this one is on its way

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

struct Subscription {
  std::string op;
  bool follow = false;
  std::int64_t next[2] = {0, 0};
  bool told_started = false;
};

// A group whose command is over while something it started lives on. Its pipes are emptied so that nothing in it stops.
struct Leftover {
  std::string group;
  std::array<Fd, 2> out;
};

class Keeper {
 public:
  Keeper(const KeeperConfig& config, int first) : config_(config) {
    if (first >= 0) connection_ = Fd(first);
  }

  int run() {
    if (const Status ready = open(); !ready) error_ = ready.error().what;
    send_table();
    while (!closing_) step();
    return 0;
  }

 private:
  // ---------------------------------------------------------------------------------------------------- beginning
  Status open() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // the container's first process becomes a child of this one
    ::prctl(PR_SET_DUMPABLE, 0);
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t mask;
    ::sigemptyset(&mask);
    ::sigaddset(&mask, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &mask, nullptr);
    signals_ = Fd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
    std::random_device device;
    boot_ = fmt::format("{:08x}{:08x}", device(), device());
    HADAL_CHECK_OK(listen());
    container_ = HADAL_TRY(launch_container(config_, kLaunchSeconds));
    // From here on every child of this process is born in the sandbox's pid namespace.
    if (::setns(container_.pidfd.get(), CLONE_NEWPID) != 0)
      return fail(ErrorCode::kIo, "cannot join the pid namespace: {}", std::strerror(errno));
    make_spare();
    return {};
  }

  Status listen() {
    const std::string path = config_.folder + "/keeper.sock";
    ::unlink(path.c_str());
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
      return fail(ErrorCode::kUsage, "the path {} is too long for a socket; use a shorter data folder", path);
    std::copy(path.begin(), path.end(), address.sun_path);
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const mode_t before = ::umask(0177);
    const bool fine = listener_ &&
                      ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                      ::listen(listener_.get(), 4) == 0;
    ::umask(before);
    if (!fine) return fail(ErrorCode::kIo, "cannot listen on {}: {}", path, std::strerror(errno));
    if (connection_) ::fcntl(connection_.get(), F_SETFL, O_NONBLOCK);
    return {};
  }

  void make_spare() {
    if (spare_ || gone_) return;
    auto made = fork_spare(config_, container_, fmt::format("op{}", ++groups_));
    if (made)
      spare_ = std::move(*made);
    else
      spare_error_ = made.error().what;
  }

  // --------------------------------------------------------------------------------------------------------- loop
  void step() {
    std::vector<struct pollfd> polled;
    std::vector<std::function<void(short)>> handlers;
    const auto watch = [&](int fd, short events, std::function<void(short)> handler) {
      polled.push_back({fd, events, 0});
      handlers.push_back(std::move(handler));
    };
    if (signals_) watch(signals_.get(), POLLIN, [this](short) { take_signals(); });
    if (listener_) watch(listener_.get(), POLLIN, [this](short) { accept(); });
    if (connection_)
      watch(connection_.get(), static_cast<short>(POLLIN | (unsent_.empty() ? 0 : POLLOUT)), [this](short events) {
        if (events & POLLOUT) flush();
        if (events & (POLLIN | POLLHUP | POLLERR)) receive();
      });
    for (auto& [id, op] : operations_) {
      KeeperOperation* o = op.get();
      if (o->status) watch(o->status.get(), POLLIN, [this, o](short) { take_status(*o); });
      for (std::size_t i = 0; i < 2; ++i)
        if (o->out[i]) watch(o->out[i].get(), POLLIN, [this, o, i](short) { take_output(*o, i); });
      if (o->in && !o->input.empty()) watch(o->in.get(), POLLOUT, [this, o](short) { give_input(*o); });
    }
    for (Leftover& l : leftovers_)
      for (Fd& fd : l.out)
        if (fd) watch(fd.get(), POLLIN, [this, &fd](short) { discard(fd); });

    ::poll(polled.data(), polled.size(), timeout_ms());
    for (std::size_t i = 0; i < polled.size(); ++i)
      if (polled[i].revents != 0) handlers[i](polled[i].revents);
    tick(KeeperClock::now());
    pump();
    flush();
  }

  int timeout_ms() const {
    auto next = KeeperClock::now() + 1h;
    if (!spare_ && !gone_ && error_.empty()) next = std::min(next, spare_due_);
    for (const auto& [id, op] : operations_) {
      if (op->ended) continue;
      next = std::min({next, op->deadline, op->kill_at});
      if (op->exited) next = std::min({next, op->quiet_since + kQuiet, op->exited_at + kDrain});
    }
    if (!leftovers_.empty()) next = std::min(next, leftovers_due_);
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - KeeperClock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(wait, 0, 3'600'000));
  }

  void tick(KeeperClock::time_point now) {
    if (!spare_ && now >= spare_due_ && error_.empty()) make_spare();
    for (auto& [id, op] : operations_) {
      if (op->ended) continue;
      if (now >= op->deadline && !op->timed_out) {
        op->timed_out = true;
        signal_group(system_control_files(), op->group, SIGTERM);
        op->kill_at =
            now + std::chrono::duration_cast<KeeperClock::duration>(std::chrono::duration<double>(op->grace_s));
      }
      if (now >= op->kill_at) kill_tree(*op);
      if (op->exited) finish_if_quiet(*op, now);
    }
    std::erase_if(operations_, [](const auto& entry) { return entry.second->ended && entry.second->id.empty(); });
    if (!leftovers_.empty() && now >= leftovers_due_) {
      leftovers_due_ = now + 500ms;
      std::erase_if(leftovers_, [](Leftover& l) { return system_control_files().remove_folder(l.group).has_value(); });
    }
  }

  void kill_tree(KeeperOperation& op) {
    op.kill_at = KeeperClock::time_point::max();
    const auto killed = kill_group(system_control_files(), op.group, config_.group.v2);
    op.killed += killed ? *killed : 0;
    reap();
  }

  // ------------------------------------------------------------------------------------------------------ children
  void take_signals() {
    struct signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) continue;
    reap();
  }

  void reap() {
    int status = 0;
    struct rusage usage;
    for (pid_t pid; (pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0;) {
      if (pid == container_.pid) {
        gone_ = true;
        spare_.reset();
        Json body = {{"what", fmt::format("the first process of sandbox {} ended", config_.id)}};
        send(KeeperMessage::kGone, 0, text_of(body));
        continue;
      }
      if (spare_ && pid == spare_->pid) {
        (void)system_control_files().remove_folder(spare_->group);
        spare_.reset();
        spare_due_ = KeeperClock::now() + 100ms;
        continue;
      }
      for (auto& [id, op] : operations_)
        if (op->pid == pid && !op->exited) {
          op->exited = true;
          op->wait_status = status;
          op->usage = usage;
          op->exited_at = op->quiet_since = KeeperClock::now();
          if (op->timed_out) kill_rest(*op);
        }
    }
  }

  // The command itself is dead: on a time-out nothing it started stays either.
  void kill_rest(KeeperOperation& op) {
    op.kill_at = KeeperClock::time_point::max();
    const auto killed = kill_group(system_control_files(), op.group, config_.group.v2);
    op.killed += killed ? *killed : 0;
  }

  void take_status(KeeperOperation& op) {
    char buffer[16384];
    const ssize_t n = ::read(op.status.get(), buffer, sizeof buffer);
    if (n > 0 && op.status_text.size() < (64 << 10)) {
      op.status_text.append(buffer, static_cast<std::size_t>(n));
      return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    op.status.reset();
    if (op.status_text.empty()) op.started = true;
  }

  void take_output(KeeperOperation& op, std::size_t stream) {
    char buffer[kDataPiece];
    // A few pieces, then the others' turn.
    for (int i = 0; i < 4; ++i) {
      const ssize_t n = ::read(op.out[stream].get(), buffer, sizeof buffer);
      if (n > 0) {
        op.kept[stream].append({buffer, static_cast<std::size_t>(n)});
        op.quiet_since = KeeperClock::now();
        if (static_cast<std::size_t>(n) < sizeof buffer) return;
        continue;
      }
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      op.out[stream].reset();  // the end, or EIO of a terminal whose last user left
      return;
    }
  }

  static void discard(Fd& fd) {
    char buffer[kDataPiece];
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) fd.reset();
  }

  void give_input(KeeperOperation& op) {
    if (op.in && !op.input.empty()) {
      const ssize_t n = ::write(op.in.get(), op.input.data(), op.input.size());
      if (n > 0) op.input.erase(0, static_cast<std::size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) {
        op.input.clear();  // the command does not read any more
        op.in.reset();
      }
    }
    if (op.input.empty() && op.input_ends && !op.tty) op.in.reset();
  }

  std::int64_t oom_kills() const {
    if (config_.group.oom_events.empty()) return 0;
    const auto text = system_control_files().read(config_.group.oom_events);
    if (!text) return 0;
    const auto at = text->find("oom_kill ");
    return at == std::string::npos ? 0 : std::atoll(text->c_str() + at + 9);
  }

  void finish_if_quiet(KeeperOperation& op, KeeperClock::time_point now) {
    if (op.status) take_status(op);
    for (std::size_t i = 0; i < 2; ++i)
      if (op.out[i]) take_output(op, i);
    const bool open = op.out[0] || op.out[1];
    if (open && now < op.quiet_since + kQuiet && now < op.exited_at + kDrain) return;
    if (op.status && op.is_file && now < op.exited_at + kDrain) return;
    finish(op);
  }

  void finish(KeeperOperation& op) {
    Json j = {{"out", op.kept[0].total()}, {"err", op.kept[1].total()}, {"killed", op.killed}};
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    j["wall_s"] = std::chrono::duration<double>(op.exited_at - op.begun).count();
    j["user_s"] = seconds(op.usage.ru_utime);
    j["system_s"] = seconds(op.usage.ru_stime);
    j["max_resident_bytes"] = std::int64_t{op.usage.ru_maxrss} * 1024;
    const int w = op.wait_status;
    const bool by_kill =
        (WIFSIGNALED(w) && WTERMSIG(w) == SIGKILL) || (WIFEXITED(w) && WEXITSTATUS(w) == 128 + SIGKILL);
    if (op.timed_out) {
      j["status"] = "exec_timeout";
    } else if (op.is_file) {
      j["status"] = "exited";
      j["file"] = op.status_text;
    } else if (!op.status_text.empty()) {
      j["status"] = "not_started";
      j["reason"] = op.status_text;
    } else if (by_kill && oom_kills() > op.oom_before) {
      j["status"] = "oom_killed";
    } else if (op.killed_by_request && WIFSIGNALED(w)) {
      j["status"] = "killed";
    } else {
      j["status"] = WIFEXITED(w) ? "exited" : "signalled";
    }
    if (WIFEXITED(w)) j["exit_code"] = WEXITSTATUS(w);
    if (WIFSIGNALED(w)) j["signal"] = WTERMSIG(w);
    op.result = text_of(j);
    op.ended = true;
    op.input.clear();
    op.in.reset();
    if (!system_control_files().remove_folder(op.group)) {
      leftovers_.push_back({op.group, {std::move(op.out[0]), std::move(op.out[1])}});
      leftovers_due_ = KeeperClock::now() + 500ms;
    }
    op.out[0].reset();
    op.out[1].reset();
  }

  // -------------------------------------------------------------------------------------------------- connection
  void accept() {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    struct ucred peer;
    socklen_t size = sizeof peer;
    // The folder is the host root's alone; this holds if someone opens it.
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || (peer.uid != 0 && peer.uid != ::getuid()))
      return;
    drop_connection();
    connection_ = std::move(fd);
    send_table();
  }

  void drop_connection() {
    connection_.reset();
    reader_ = {};
    unsent_.clear();
    subscriptions_.clear();
  }

  void receive() {
    char buffer[kDataPiece];
    const ssize_t n = ::read(connection_.get(), buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return drop_connection();
    reader_.feed({buffer, static_cast<std::size_t>(n)});
    while (connection_) {
      const auto frame = reader_.next();
      if (!frame) return drop_connection();
      if (!*frame) return;
      try {
        handle(**frame);
      } catch (const std::exception& e) {
        refuse((*frame)->stream, "invalid_request", fmt::format("a message cannot be read: {}", e.what()));
      }
    }
  }

  void send(KeeperMessage type, std::uint32_t stream, std::string_view body, std::uint16_t flags = 0) {
    if (connection_) append_frame(unsent_, type, stream, body, flags);
  }

  void refuse(std::uint32_t stream, const char* code, const std::string& what) {
    send(KeeperMessage::kRefused, stream, text_of(Json{{"code", code}, {"what", what}}));
  }

  void flush() {
    while (connection_ && !unsent_.empty()) {
      const ssize_t n = ::send(connection_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) return drop_connection();
      unsent_.erase(0, static_cast<std::size_t>(n));
    }
  }

  void send_table() {
    Json rows = Json::array();
    for (const auto& [id, op] : operations_)
      if (!op->is_file && !op->id.empty())
        rows.push_back(
            {{"op", id}, {"running", !op->ended}, {"out", op->kept[0].total()}, {"err", op->kept[1].total()}});
    const std::string error = gone_ ? fmt::format("the first process of sandbox {} ended", config_.id) : error_;
    send(KeeperMessage::kTable, 0,
         text_of(Json{
             {"boot", boot_}, {"ready", error.empty()}, {"error", error}, {"pid", container_.pid}, {"ops", rows}}));
  }

  void handle(const KeeperFrame& f) {
    switch (f.type) {
      case KeeperMessage::kHello:
        return send_table();
      case KeeperMessage::kStart:
      case KeeperMessage::kFile:
        return start(f.stream, Json::parse(f.body), f.type == KeeperMessage::kFile);
      case KeeperMessage::kAttach: {
        const Json j = Json::parse(f.body);
        const std::string id = j.at("op");
        if (!operations_.contains(id))
          return refuse(f.stream, "not_found", fmt::format("operation {} is not known to the keeper", id));
        Subscription s{id, true, {j.at("out"), j.at("err")}, false};
        if (s.next[0] < 0 || s.next[1] < 0) return refuse(f.stream, "invalid_request", "an offset is negative");
        subscriptions_[f.stream] = s;
        return;
      }
      case KeeperMessage::kInput:
        if (KeeperOperation* op = of_stream(f.stream); op != nullptr && op->in && !op->ended) {
          if (op->input.size() + f.body.size() > kMostInput)
            return refuse(f.stream, "capacity", "the command does not read its input; send it in smaller pieces");
          op->input += f.body;
          if (f.flags & kFlagEnd) {
            op->input_ends = true;
            if (op->tty) op->input += '\x04';  // a terminal ends its input by this character
          }
          give_input(*op);
        }
        return;
      case KeeperMessage::kSignal:
        if (KeeperOperation* op = of_stream(f.stream); op != nullptr && !op->exited) {
          const Json j = Json::parse(f.body);
          const int number = j.at("number");
          if (number <= 0 || number > 64) return;
          if (number == SIGKILL) op->killed_by_request = true;
          if (!j.value("tree", false))
            ::kill(op->pid, number);
          else if (number == SIGKILL)
            kill_tree(*op);
          else
            signal_group(system_control_files(), op->group, number);
        }
        return;
      case KeeperMessage::kResize:
        if (KeeperOperation* op = of_stream(f.stream); op != nullptr && op->tty && op->in) {
          const Json j = Json::parse(f.body);
          const struct winsize size = {j.at("rows"), j.at("columns"), 0, 0};
          ::ioctl(op->in.get(), TIOCSWINSZ, &size);
        }
        return;
      case KeeperMessage::kForget: {
        const auto found = operations_.find(Json::parse(f.body).at("op"));
        if (found != operations_.end() && found->second->ended) operations_.erase(found);
        return;
      }
      case KeeperMessage::kClose:
        return close();
      default:
        return drop_connection();
    }
  }

  KeeperOperation* of_stream(std::uint32_t stream) {
    const auto s = subscriptions_.find(stream);
    if (s == subscriptions_.end()) return nullptr;
    const auto op = operations_.find(s->second.op);
    return op == operations_.end() ? nullptr : op->second.get();
  }

  // -------------------------------------------------------------------------------------------------- operations
  void start(std::uint32_t stream, const Json& j, bool is_file) {
    const std::string id = is_file ? fmt::format("file/{}/{}", ++files_, stream) : j.at("op").get<std::string>();
    if (const auto known = operations_.find(id); known != operations_.end()) {
      subscriptions_[stream] = {id, j.value("follow", false), {0, 0}, false};
      return;
    }
    if (gone_ || !error_.empty()) return refuse(stream, "agent_lost", gone_ ? "the container has ended" : error_);
    std::int64_t bytes = 0;
    std::size_t running = 0;
    for (const auto& [other, op] : operations_) {
      bytes += op->bytes();
      running += op->ended ? 0 : 1;
    }
    if (running >= kMostRunning)
      return refuse(stream, "quota_exceeded", fmt::format("{} operations of this sandbox are running", running));
    if (operations_.size() >= kMostKnown || bytes > kMostBytes)
      return refuse(stream, "capacity", "too much output of this sandbox waits to be stored");

    if (!spare_) make_spare();
    if (!spare_) return refuse(stream, "substrate_failed", spare_error_);
    auto op = std::make_unique<KeeperOperation>();
    op->id = id;
    op->is_file = is_file;
    op->tty = !is_file && j.value("tty", false);
    op->begun = KeeperClock::now();
    const double timeout = is_file ? 30 : j.at("timeout_s").get<double>();
    if (timeout > 0 && timeout < 1e8)
      op->deadline =
          op->begun + std::chrono::duration_cast<KeeperClock::duration>(std::chrono::duration<double>(timeout));
    op->grace_s = is_file ? 0 : std::clamp(j.value("grace_s", 2.0), 0.0, 60.0);
    const std::int64_t limit = std::clamp<std::int64_t>(j.value("output_bytes", std::int64_t{1} << 20), 0, 256 << 20);
    op->kept[0] = HeadTail(limit);
    op->kept[1] = HeadTail(limit);
    op->input_ends = !j.value("stdin_open", false);
    op->oom_before = oom_kills();

    Fd in, out, err;
    if (op->tty) {
      auto terminal = open_terminal(container_, config_, j.value("rows", 24), j.value("columns", 80));
      if (!terminal) return refuse(stream, "unsupported", terminal.error().what);
      in = Fd(::fcntl(terminal->slave.get(), F_DUPFD_CLOEXEC, 3));
      err = Fd(::fcntl(terminal->slave.get(), F_DUPFD_CLOEXEC, 3));
      out = std::move(terminal->slave);
      op->in = Fd(::fcntl(terminal->master.get(), F_DUPFD_CLOEXEC, 3));
      op->out[0] = std::move(terminal->master);
    } else {
      const auto make_pipe = [](Fd& read, Fd& write) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return false;
        read = Fd(ends[0]);
        write = Fd(ends[1]);
        return true;
      };
      if (!make_pipe(in, op->in) || !make_pipe(op->out[0], out) || !make_pipe(op->out[1], err))
        return refuse(stream, "capacity", fmt::format("no pipes for a command: {}", std::strerror(errno)));
    }
    for (const int fd : {op->in.get(), op->out[0].get(), op->out[1].get()})
      if (fd >= 0) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    Json request = j;
    request["type"] = is_file ? "file" : "exec";
    if (!is_file && (request.at("argv").empty() || request.at("argv").at(0) == ""))
      return refuse(stream, "invalid_request", "argv is empty");
    if (const Status sent = send_request(*spare_, text_of(request), std::move(in), std::move(out), std::move(err));
        !sent)
      return refuse(stream, "substrate_failed", sent.error().what);
    op->pid = spare_->pid;
    op->group = spare_->group;
    op->status = std::move(spare_->socket);
    ::fcntl(op->status.get(), F_SETFL, O_NONBLOCK);
    spare_.reset();
    spare_due_ = KeeperClock::now() + kSpareDelay;
    subscriptions_[stream] = {id, j.value("follow", false), {0, 0}, false};
    give_input(*op);
    operations_[id] = std::move(op);
  }

  // What the subscribers may have, as long as the edge takes it.
  void pump() {
    for (auto it = subscriptions_.begin(); it != subscriptions_.end();) {
      const auto found = operations_.find(it->second.op);
      if (found == operations_.end()) {
        it = subscriptions_.erase(it);
        continue;
      }
      KeeperOperation& op = *found->second;
      Subscription& s = it->second;
      if (op.started && !s.told_started) {
        s.told_started = true;
        send(KeeperMessage::kStarted, it->first, text_of(Json{{"pid", op.pid}}));
      }
      bool all = true;
      if (s.follow || op.ended)
        for (std::size_t i = 0; i < 2; ++i)
          while (all) {
            const HeadTail::Piece piece = op.kept[i].read(s.next[i], kDataPiece);
            if (piece.bytes.empty()) break;
            if (unsent_.size() > kQueue) {
              all = false;
              break;
            }
            std::string body(reinterpret_cast<const char*>(&piece.offset), sizeof piece.offset);
            body += piece.bytes;
            send(KeeperMessage::kOutput, it->first, body, i == 1 ? kFlagErr : 0);
            s.next[i] = piece.offset + static_cast<std::int64_t>(piece.bytes.size());
          }
      if (!op.ended || !all) {
        ++it;
        continue;
      }
      send(KeeperMessage::kEnded, it->first, op.result);
      if (op.is_file) operations_.erase(found);
      it = subscriptions_.erase(it);
    }
    // A file operation whose asker is gone has no one to confirm it.
    std::erase_if(operations_, [this](const auto& entry) {
      return entry.second->is_file && entry.second->ended &&
             std::none_of(subscriptions_.begin(), subscriptions_.end(),
                          [&](const auto& s) { return s.second.op == entry.first; });
    });
  }

  void close() {
    closing_ = true;
    spare_.reset();
    (void)kill_group(system_control_files(), config_.group.tree, config_.group.v2);
    if (container_.pid > 0 && !gone_) ::kill(container_.pid, SIGKILL);
    // Process 1 ends when everything in its namespace has been waited for, and some of that are children of this one.
    for (int i = 0; i < 2000 && container_.pid > 0 && !gone_; ++i) {
      reap();
      if (!gone_) ::usleep(1000);
    }
  }

  const KeeperConfig& config_;
  LaunchedContainer container_;
  Fd signals_, listener_, connection_;
  KeeperReader reader_;
  std::string unsent_, boot_, error_, spare_error_;
  std::map<std::uint32_t, Subscription> subscriptions_;
  std::map<std::string, std::unique_ptr<KeeperOperation>> operations_;
  std::list<Leftover> leftovers_;
  KeeperClock::time_point leftovers_due_, spare_due_;
  std::optional<Spare> spare_;
  std::int64_t groups_ = 0, files_ = 0;
  bool gone_ = false, closing_ = false;
};

}  // namespace

int run_keeper(const KeeperConfig& config, int first) { return Keeper(config, first).run(); }

void run_init() {
  ::prctl(PR_SET_NAME, "init");
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  for (;;) {
    int number = 0;
    if (::sigwait(&all, &number) != 0) continue;
    if (number == SIGTERM) ::_exit(0);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) continue;
  }
}

}  // namespace hadal::sandbox
