#include "sandbox/edge/sessions.h"

#include <signal.h>

#include <chrono>
#include <deque>
#include <random>

#include "sandbox/container/head_tail.h"

namespace hadal::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostSessions = 32;  // of one sandbox
constexpr std::size_t kMostWaiting = 64;   // commands of one session

std::string random_word() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

// As one word of a POSIX shell.
std::string quoted(const std::string& text) {
  std::string q = "'";
  for (const char c : text) {
    if (c == '\'')
      q += "'\\''";
    else
      q += c;
  }
  return q + "'";
}

// One stream of a session: text up to a mark, then the number after it.
class Marked {
 public:
  void begin(const std::string& mark, std::int64_t limit) {
    mark_ = "\n" + mark + " ";
    kept_ = HeadTail(limit);
    found_ = false;
    pending_.clear();
  }
  void take(std::string_view bytes) {
    if (found_ || mark_.empty()) return;
    pending_ += bytes;
    const auto at = pending_.find(mark_);
    if (at == std::string::npos) {
      // The last bytes may be the beginning of the mark.
      if (pending_.size() > mark_.size()) {
        kept_.append(std::string_view(pending_).substr(0, pending_.size() - mark_.size()));
        pending_.erase(0, pending_.size() - mark_.size());
      }
      return;
    }
    const auto end = pending_.find('\n', at + mark_.size());
    if (end == std::string::npos) {
      if (pending_.size() - at > mark_.size() + 16) found_ = true;  // not a number: someone printed the mark back
      return;
    }
    kept_.append(std::string_view(pending_).substr(0, at));
    number_ = std::atoi(pending_.c_str() + at + mark_.size());
    found_ = true;
  }
  void flush() {
    if (!found_) kept_.append(pending_);
    pending_.clear();
  }
  bool found() const { return found_; }
  int number() const { return number_; }
  CapturedOutput output() const {
    CapturedOutput c;
    c.total = kept_.total();
    for (std::int64_t at = 0;;) {
      const HeadTail::Piece piece = kept_.read(at, std::size_t{1} << 30);
      if (piece.bytes.empty()) return c;
      (piece.offset == static_cast<std::int64_t>(c.head.size()) && c.tail.empty() ? c.head : c.tail) += piece.bytes;
      at = piece.offset + static_cast<std::int64_t>(piece.bytes.size());
    }
  }

 private:
  std::string mark_, pending_;
  HeadTail kept_;
  bool found_ = false;
  int number_ = 0;
};

}  // namespace

class Sessions::Shell final : public OperationSink {
 public:
  struct Waiting {
    SessionRun run;
    std::function<void(Result<ExecResult>)> done;
    std::shared_ptr<Edge::Use> use;  // busy until answered
  };

  Shell(Edge& edge, std::string sandbox, std::string op)
      : edge_(edge), sandbox_(std::move(sandbox)), op_(std::move(op)) {}

  void add(Waiting w) {
    std::unique_lock lock(mutex_);
    if (over_) {
      lock.unlock();
      return w.done(fail(ErrorCode::kCancelled, "the session has ended: {}", why_));
    }
    if (queue_.size() >= kMostWaiting) {
      lock.unlock();
      return w.done(fail(ErrorCode::kBusy, "{} commands of this session are waiting", kMostWaiting));
    }
    queue_.push_back(std::move(w));
    if (queue_.size() == 1) next();
  }

  void started(std::int64_t) override {}
  void output(int stream, std::int64_t, std::string_view bytes) override {
    std::unique_lock lock(mutex_);
    streams_[stream == 1 ? 0 : 1].take(bytes);
    if (queue_.empty() || !streams_[0].found() || !streams_[1].found()) return;
    ExecResult r = result();
    r.status = ExecStatus::kExited;
    r.exit_code = streams_[0].number();
    const Waiting w = std::move(queue_.front());
    queue_.pop_front();
    if (!queue_.empty()) next();
    lock.unlock();
    w.done(std::move(r));
  }
  void ended(const ExecResult& how) override { over(&how, "its shell ended"); }
  void failed(const Error& error) override { over(nullptr, error.what); }

  void check(Clock::time_point now) {
    bool late;
    {
      const std::lock_guard lock(mutex_);
      late = !queue_.empty() && !over_ && queue_.front().run.timeout_s > 0 &&
             std::chrono::duration<double>(now - begun_).count() > queue_.front().run.timeout_s;
      if (late) timed_out_ = true;
    }
    if (late) end();
  }
  void end() {
    if (auto used = edge_.use(sandbox_)) used->agent().signal(op_, SIGKILL, true);
  }
  bool is_over() {
    const std::lock_guard lock(mutex_);
    return over_;
  }
  const std::string& op() const { return op_; }

 private:
  // With the lock held.
  void next() {
    const SessionRun& run = queue_.front().run;
    const std::string mark = random_word();
    for (Marked& s : streams_) s.begin(mark, run.output_bytes);
    begun_ = Clock::now();
    // `command` keeps a syntax error in eval from ending the shell, as POSIX asks of special built-ins.
    const std::string line =
        fmt::format("command eval {} </dev/null\nprintf '\\n%s %d\\n' {} \"$?\"; printf '\\n%s 0\\n' {} >&2\n",
                    quoted(run.command), mark, mark);
    queue_.front().use->agent().input(op_, line, false);
  }
  ExecResult result() {
    ExecResult r;
    r.out = streams_[0].output();
    r.err = streams_[1].output();
    r.usage.wall_s = std::chrono::duration<double>(Clock::now() - begun_).count();
    return r;
  }
  void over(const ExecResult* how, const std::string& why) {
    std::unique_lock lock(mutex_);
    over_ = true;
    why_ = why;
    std::deque<Waiting> queue;
    queue.swap(queue_);
    for (Marked& s : streams_) s.flush();
    ExecResult r = result();
    if (how != nullptr) {
      r.status = timed_out_ ? ExecStatus::kTimedOut : how->status;
      r.exit_code = how->exit_code;
      r.signal = how->signal;
      r.killed = how->killed;
      r.reason = "the session's shell ended with this command";
    }
    lock.unlock();
    for (bool first = true; Waiting & w : queue) {
      if (first && how != nullptr)
        w.done(r);
      else
        w.done(fail(ErrorCode::kCancelled, "the session has ended: {}", why));
      first = false;
    }
  }

  Edge& edge_;
  const std::string sandbox_, op_;
  std::mutex mutex_;
  std::deque<Waiting> queue_;  // the first is running
  Marked streams_[2];
  Clock::time_point begun_;
  bool over_ = false, timed_out_ = false;
  std::string why_;
};

Result<std::string> Sessions::open(const std::string& sandbox, const ExecRequest& shell) {
  const std::string name = edge_.new_name("se");
  auto made = std::make_shared<Shell>(edge_, sandbox, name);
  {
    const std::lock_guard lock(mutex_);
    std::size_t count = 0;
    std::erase_if(shells_, [](const auto& entry) { return entry.second->is_over(); });
    for (const auto& [key, s] : shells_) count += key.starts_with(sandbox + "/") ? 1 : 0;
    if (count >= kMostSessions)
      return fail(ErrorCode::kBusy, "sandbox {} has {} sessions, the most it may", sandbox, count);
    shells_[sandbox + "/" + name] = made;
  }
  ExecRequest q = shell;
  if (q.argv.empty()) q.argv = {"/bin/sh"};
  q.stdin_open = true;
  q.follow = true;
  q.background = true;
  q.timeout_s = 0;
  const Status started = edge_.exec(sandbox, name, q, made);
  if (!started) {
    const std::lock_guard lock(mutex_);
    shells_.erase(sandbox + "/" + name);
    return std::unexpected(started.error());
  }
  return name;
}

Result<std::shared_ptr<Sessions::Shell>> Sessions::find(const std::string& sandbox, const std::string& session) {
  const std::lock_guard lock(mutex_);
  const auto found = shells_.find(sandbox + "/" + session);
  if (found == shells_.end()) return fail(ErrorCode::kNotFound, "sandbox {} has no session {:.80}", sandbox, session);
  return found->second;
}

void Sessions::run(const std::string& sandbox, const std::string& session, const SessionRun& run,
                   std::function<void(Result<ExecResult>)> done) {
  auto shell = find(sandbox, session);
  if (!shell) return done(std::unexpected(shell.error()));
  // The call holds the sandbox busy, so that it is not paused for being idle meanwhile.
  auto used = edge_.use(sandbox);
  if (!used) return done(std::unexpected(used.error()));
  auto held = std::make_shared<Edge::Use>(std::move(*used));
  (*shell)->add({run, std::move(done), std::move(held)});
}

Status Sessions::close(const std::string& sandbox, const std::string& session) {
  const auto shell = HADAL_TRY(find(sandbox, session));
  shell->end();
  const std::lock_guard lock(mutex_);
  shells_.erase(sandbox + "/" + session);
  return {};
}

void Sessions::keep_time() {
  std::map<std::string, std::shared_ptr<Shell>> shells;
  {
    const std::lock_guard lock(mutex_);
    shells = shells_;
  }
  for (auto& [key, shell] : shells) shell->check(Clock::now());
}

}  // namespace hadal::sandbox
