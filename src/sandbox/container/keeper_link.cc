#include "sandbox/container/keeper_link.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostOutput = 256 << 20;  // what a keeper keeps at most; more is a lie
constexpr std::size_t kMostTable = 2048;

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Only for numbers from a keeper: what is missing or mistyped is 0.
template <class T>
T number(const Json& j, const char* name) {
  const auto it = j.find(name);
  return it != j.end() && it->is_number() ? it->get<T>() : T{};
}

std::string word(const Json& j, const char* name) {
  const auto it = j.find(name);
  return it != j.end() && it->is_string() ? it->get<std::string>() : "";
}

ErrorCode code_of(const std::string& name) {
  if (name == "not_found") return ErrorCode::kNotFound;
  if (name == "invalid_request") return ErrorCode::kUsage;
  if (name == "unsupported") return ErrorCode::kUnsupported;
  if (name == "capacity" || name == "quota_exceeded") return ErrorCode::kBusy;
  if (name == "disk_full") return ErrorCode::kNoMemory;
  return ErrorCode::kIo;
}

FileInfo parse_info(const Json& j) {
  FileInfo i;
  i.name = word(j, "name");
  const std::string type = word(j, "type");
  i.type = type.empty() ? 'o' : type[0];
  i.mode = number<std::uint32_t>(j, "mode");
  i.uid = number<std::uint32_t>(j, "uid");
  i.gid = number<std::uint32_t>(j, "gid");
  i.size = number<std::int64_t>(j, "size");
  i.modified_ns = number<std::int64_t>(j, "modified_ns");
  i.target = word(j, "target");
  return i;
}

// Bytes by offset: what continues from the start is the head, what comes after a gap the tail.
void take(CapturedOutput& c, std::int64_t offset, std::string_view bytes) {
  const auto n = static_cast<std::int64_t>(bytes.size());
  if (c.tail.empty() && offset == static_cast<std::int64_t>(c.head.size()))
    c.head += bytes;
  else
    c.tail += bytes;
  c.total = std::max(c.total, offset + n);
}

}  // namespace

struct KeeperLink::Waiting {
  std::string op;
  std::shared_ptr<OperationSink> sink;
  std::function<void(Result<FileAnswer>)> file;
  FileRequest::Kind kind{};
  ExecResult result;
  std::int64_t room = 0;  // bytes of output still believed
};

// ------------------------------------------------------------------------------------------------------------- loop

Result<std::shared_ptr<LinkLoop>> LinkLoop::start() {
  std::shared_ptr<LinkLoop> loop(new LinkLoop);
  loop->poll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  loop->wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  struct epoll_event event = {EPOLLIN, {.fd = loop->wake_.get()}};
  if (!loop->poll_ || !loop->wake_ || ::epoll_ctl(loop->poll_.get(), EPOLL_CTL_ADD, loop->wake_.get(), &event) != 0)
    return fail(ErrorCode::kIo, "cannot wait for keepers: {}", std::strerror(errno));
  loop->thread_ = std::thread([raw = loop.get()] { raw->run(); });
  return loop;
}

LinkLoop::~LinkLoop() {
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
  // The last link may go on the loop's own thread.
  if (thread_.get_id() == std::this_thread::get_id())
    thread_.detach();
  else if (thread_.joinable())
    thread_.join();
}

void LinkLoop::run() {
  struct epoll_event events[64];
  const int poll = poll_.get(), wake = wake_.get();
  for (;;) {
    const int n = ::epoll_wait(poll, events, 64, -1);
    if (n < 0 && errno != EINTR) return;
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd == wake) return;
      std::shared_ptr<KeeperLink> link;
      {
        const std::lock_guard lock(mutex_);
        const auto found = links_.find(events[i].data.fd);
        if (found != links_.end()) link = found->second.lock();
      }
      if (link)
        link->ready((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0, (events[i].events & EPOLLOUT) != 0);
    }
  }
}

void LinkLoop::watch(const std::shared_ptr<KeeperLink>& link, bool writing, bool is_new) {
  const int fd = link->socket_.get();
  struct epoll_event event = {EPOLLIN | (writing ? static_cast<std::uint32_t>(EPOLLOUT) : 0U), {.fd = fd}};
  if (is_new) {
    const std::lock_guard lock(mutex_);
    links_[fd] = link;
  }
  ::epoll_ctl(poll_.get(), is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
}

void LinkLoop::drop(int fd) {
  const std::lock_guard lock(mutex_);
  ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  links_.erase(fd);
}

// ------------------------------------------------------------------------------------------------------------- link

Result<std::shared_ptr<KeeperLink>> KeeperLink::open(std::shared_ptr<LinkLoop> loop, Fd socket, double seconds) {
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  std::shared_ptr<KeeperLink> link(new KeeperLink(loop, std::move(socket)));
  loop->watch(link, false, true);
  std::unique_lock lock(link->mutex_);
  link->changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                          [&] { return link->has_table_ || !link->alive_; });
  if (!link->has_table_)
    return fail(ErrorCode::kIo, "the sandbox's keeper {}",
                link->alive_ ? "does not answer" : "ended before it was ready");
  if (!link->error_.empty()) return fail(ErrorCode::kIo, "{}", link->error_);
  return link;
}

KeeperLink::~KeeperLink() {
  if (socket_) loop_->drop(socket_.get());
}

std::string KeeperLink::boot_id() const {
  const std::lock_guard lock(mutex_);
  return boot_;
}

bool KeeperLink::alive() const {
  const std::lock_guard lock(mutex_);
  return alive_ && !gone_;
}

std::int64_t KeeperLink::container_pid() const {
  const std::lock_guard lock(mutex_);
  return pid_;
}

std::vector<AgentOperation> KeeperLink::table() const {
  const std::lock_guard lock(mutex_);
  std::vector<AgentOperation> rows;
  for (const auto& [id, op] : table_) rows.push_back(op);
  return rows;
}

void KeeperLink::flush_locked() {
  while (socket_ && !unsent_.empty()) {
    const ssize_t n = ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    unsent_.erase(0, static_cast<std::size_t>(n));
  }
}

void KeeperLink::send(KeeperMessage type, std::uint32_t stream, std::string_view body, std::uint16_t flags) {
  const std::lock_guard lock(mutex_);
  if (!alive_) return;
  append_frame(unsent_, type, stream, body, flags);
  flush_locked();
  if (!unsent_.empty()) loop_->watch(shared_from_this(), true, false);
}

void KeeperLink::send_data(std::uint32_t stream, std::string_view bytes, bool end) {
  do {
    const std::string_view piece = bytes.substr(0, kDataPiece);
    bytes.remove_prefix(piece.size());
    send(KeeperMessage::kInput, stream, piece, end && bytes.empty() ? kFlagEnd : 0);
  } while (!bytes.empty());
}

void KeeperLink::ready(bool readable, bool writable) {
  if (writable) {
    const std::lock_guard lock(mutex_);
    flush_locked();
    if (unsent_.empty() && socket_) loop_->watch(shared_from_this(), false, false);
  }
  if (!readable) return;
  char buffer[kDataPiece];
  for (int i = 0; i < 16; ++i) {
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return lost("the connection to the sandbox's keeper ended");
    reader_.feed({buffer, static_cast<std::size_t>(n)});
    for (;;) {
      const auto frame = reader_.next();
      if (!frame) return lost(frame.error().what);
      if (!*frame) break;
      try {
        handle(**frame);
      } catch (const std::exception& e) {
        return lost(fmt::format("the sandbox's keeper sent what cannot be read: {}", e.what()));
      }
    }
  }
}

void KeeperLink::lost(const std::string& why) {
  std::map<std::uint32_t, std::shared_ptr<Waiting>> waiting;
  {
    const std::lock_guard lock(mutex_);
    if (!alive_) return;
    alive_ = false;
    waiting.swap(waiting_);
    streams_.clear();
    loop_->drop(socket_.get());
    socket_.reset();
    changed_.notify_all();
  }
  for (auto& [stream, w] : waiting) {
    const Error error{ErrorCode::kIo, why};
    if (w->sink) w->sink->failed(error);
    if (w->file) w->file(std::unexpected(error));
  }
}

std::shared_ptr<KeeperLink::Waiting> KeeperLink::find(std::uint32_t stream) {
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(stream);
  return found == waiting_.end() ? nullptr : found->second;
}

std::uint32_t KeeperLink::stream_of(const std::string& op) {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(op);
  return found == streams_.end() ? 0 : found->second;
}

void KeeperLink::handle(const KeeperFrame& f) {
  if (f.type == KeeperMessage::kTable) {
    const Json j = Json::parse(f.body);
    const std::lock_guard lock(mutex_);
    boot_ = word(j, "boot");
    error_ = word(j, "error");
    pid_ = number<std::int64_t>(j, "pid");
    table_.clear();
    for (const Json& row : j.at("ops")) {
      if (table_.size() == kMostTable) break;
      AgentOperation op{word(row, "op"), row.value("running", false), number<std::int64_t>(row, "out"),
                        number<std::int64_t>(row, "err")};
      table_[op.id] = op;
    }
    has_table_ = true;
    changed_.notify_all();
    return;
  }
  if (f.type == KeeperMessage::kGone) {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    return;
  }
  const std::shared_ptr<Waiting> w = find(f.stream);
  if (!w) return;
  const auto done = [&] {
    const std::lock_guard lock(mutex_);
    waiting_.erase(f.stream);
    if (const auto s = streams_.find(w->op); s != streams_.end() && s->second == f.stream) streams_.erase(s);
    if (const auto row = table_.find(w->op); row != table_.end()) row->second.running = false;
  };
  switch (f.type) {
    case KeeperMessage::kStarted:
      if (w->sink) w->sink->started(number<std::int64_t>(Json::parse(f.body), "pid"));
      return;
    case KeeperMessage::kOutput: {
      std::int64_t offset = 0;
      if (f.body.size() < sizeof offset) return lost("the sandbox's keeper sent a piece of output without its place");
      std::memcpy(&offset, f.body.data(), sizeof offset);
      const std::string_view bytes = f.body.substr(sizeof offset);
      w->room -= static_cast<std::int64_t>(bytes.size());
      if (offset < 0 || w->room < 0) return lost("the sandbox's keeper sent more output than was asked for");
      const bool err = (f.flags & kFlagErr) != 0;
      take(err ? w->result.err : w->result.out, offset, bytes);
      if (w->sink) w->sink->output(err ? 2 : 1, offset, bytes);
      return;
    }
    case KeeperMessage::kRefused: {
      done();
      const Json j = Json::parse(f.body);
      const Error error{code_of(word(j, "code")), word(j, "what")};
      if (w->sink) w->sink->failed(error);
      if (w->file) w->file(std::unexpected(error));
      return;
    }
    case KeeperMessage::kEnded: {
      done();
      const Json j = Json::parse(f.body);
      ExecResult& r = w->result;
      const std::string status = word(j, "status");
      for (const ExecStatus s : {ExecStatus::kExited, ExecStatus::kSignalled, ExecStatus::kTimedOut,
                                 ExecStatus::kOomKilled, ExecStatus::kKilled, ExecStatus::kNotStarted})
        if (exec_status_name(s) == status) r.status = s;
      r.exit_code = j.contains("exit_code") ? number<int>(j, "exit_code") : -1;
      r.signal = number<int>(j, "signal");
      r.reason = word(j, "reason");
      r.killed = number<std::int64_t>(j, "killed");
      r.usage = {number<double>(j, "wall_s"), number<double>(j, "user_s"), number<double>(j, "system_s"),
                 number<std::int64_t>(j, "max_resident_bytes")};
      r.out.total = std::max(r.out.total, number<std::int64_t>(j, "out"));
      r.err.total = std::max(r.err.total, number<std::int64_t>(j, "err"));
      if (w->sink) w->sink->ended(r);
      if (!w->file) return;
      if (r.status == ExecStatus::kTimedOut)
        return w->file(fail(ErrorCode::kIo, "the file operation took too long and was stopped"));
      const Json answer = Json::parse(word(j, "file"), nullptr, false);
      if (!answer.is_object())
        return w->file(fail(ErrorCode::kIo, "the file operation failed: {}", word(j, "file").substr(0, 200)));
      if (answer.contains("code"))
        return w->file(std::unexpected(Error{code_of(word(answer, "code")), word(answer, "what")}));
      FileAnswer a;
      if (answer.contains("info")) a.info = parse_info(answer["info"]);
      if (w->kind == FileRequest::Kind::kList) {
        const Json rows = Json::parse(r.out.head, nullptr, false);
        if (!rows.is_array()) return w->file(fail(ErrorCode::kIo, "the listing came incomplete"));
        for (const Json& row : rows) a.files.push_back(parse_info(row));
        std::sort(a.files.begin(), a.files.end(), [](const FileInfo& x, const FileInfo& y) { return x.name < y.name; });
      } else {
        a.data = std::move(r.out.head);
      }
      return w->file(std::move(a));
    }
    default:
      return lost("the sandbox's keeper sent a message of an unknown kind");
  }
}

void KeeperLink::start(const std::string& op, const ExecRequest& q, std::shared_ptr<OperationSink> sink) {
  auto w = std::make_shared<Waiting>();
  w->op = op;
  w->sink = sink;
  w->room = 2 * q.output_bytes;
  std::uint32_t stream = 0;
  {
    const std::lock_guard lock(mutex_);
    if (alive_) {
      stream = next_stream_++;
      waiting_[stream] = w;
      streams_[op] = stream;
      table_[op] = {op, true, 0, 0};
    }
  }
  if (stream == 0) return sink->failed({ErrorCode::kIo, "the sandbox's keeper is gone"});
  const Json j = {{"op", op},
                  {"argv", q.argv},
                  {"cwd", q.cwd},
                  {"user", q.user},
                  {"env", q.env},
                  {"stdin_open", q.stdin_open || !q.stdin_data.empty()},
                  {"tty", q.tty},
                  {"rows", q.rows},
                  {"columns", q.columns},
                  {"timeout_s", q.timeout_s},
                  {"grace_s", q.grace_s},
                  {"output_bytes", q.output_bytes},
                  {"follow", q.follow}};
  const std::string body = text_of(j);
  if (body.size() > kMostBody) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.erase(stream);
      streams_.erase(op);
      table_.erase(op);
    }
    return sink->failed(
        {ErrorCode::kUsage, fmt::format("a command of {} bytes is too long; {} is the most", body.size(), kMostBody)});
  }
  send(KeeperMessage::kStart, stream, body);
  if (!q.stdin_data.empty()) send_data(stream, q.stdin_data, !q.stdin_open);
}

void KeeperLink::attach(const std::string& op, std::int64_t out_from, std::int64_t err_from,
                        std::shared_ptr<OperationSink> sink) {
  auto w = std::make_shared<Waiting>();
  w->op = op;
  w->sink = sink;
  w->room = 2 * kMostOutput;
  std::uint32_t stream = 0;
  {
    const std::lock_guard lock(mutex_);
    if (alive_) {
      stream = next_stream_++;
      waiting_[stream] = w;
      streams_[op] = stream;
    }
  }
  if (stream == 0) return sink->failed({ErrorCode::kIo, "the sandbox's keeper is gone"});
  send(KeeperMessage::kAttach, stream, text_of(Json{{"op", op}, {"out", out_from}, {"err", err_from}}));
}

void KeeperLink::input(const std::string& op, std::string_view bytes, bool end) {
  if (const std::uint32_t stream = stream_of(op)) send_data(stream, bytes, end);
}

void KeeperLink::signal(const std::string& op, int number, bool whole_tree) {
  if (const std::uint32_t stream = stream_of(op))
    send(KeeperMessage::kSignal, stream, text_of(Json{{"number", number}, {"tree", whole_tree}}));
}

void KeeperLink::resize(const std::string& op, int rows, int columns) {
  if (const std::uint32_t stream = stream_of(op))
    send(KeeperMessage::kResize, stream, text_of(Json{{"rows", rows}, {"columns", columns}}));
}

void KeeperLink::forget(const std::string& op) {
  {
    const std::lock_guard lock(mutex_);
    table_.erase(op);
  }
  send(KeeperMessage::kForget, 0, text_of(Json{{"op", op}}));
}

void KeeperLink::file(const FileRequest& q, std::function<void(Result<FileAnswer>)> answer) {
  constexpr const char* kKinds[] = {"read", "write", "list", "stat", "remove", "mkdir"};
  constexpr std::int64_t kListing = 16 << 20;
  auto w = std::make_shared<Waiting>();
  w->file = answer;
  w->kind = q.kind;
  const bool listing = q.kind == FileRequest::Kind::kList;
  // The keeper keeps head and tail; twice the limit makes the head hold everything.
  const std::int64_t limit = listing                              ? kListing
                             : q.kind == FileRequest::Kind::kRead ? std::min(q.limit + 1, kMostOutput / 2)
                                                                  : 0;
  w->room = 4 * limit + 1;
  std::uint32_t stream = 0;
  {
    const std::lock_guard lock(mutex_);
    if (alive_) {
      stream = next_stream_++;
      waiting_[stream] = w;
    }
  }
  if (stream == 0) return answer(fail(ErrorCode::kIo, "the sandbox's keeper is gone"));
  const bool write = q.kind == FileRequest::Kind::kWrite;
  const Json j = {{"kind", kKinds[static_cast<int>(q.kind)]},
                  {"path", q.path},
                  {"mode", q.mode},
                  {"recursive", q.recursive},
                  {"offset", q.offset},
                  {"limit", limit},
                  {"output_bytes", 2 * limit},
                  {"stdin_open", write}};
  send(KeeperMessage::kFile, stream, text_of(j));
  if (write) send_data(stream, q.data, true);
}

bool KeeperLink::close(double seconds) {
  send(KeeperMessage::kClose, 0, "{}");
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return !alive_; });
}

}  // namespace hadal::sandbox
