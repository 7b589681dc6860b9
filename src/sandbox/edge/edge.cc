#include "sandbox/edge/edge.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/log.h"
#include "files/atomic_file.h"
#include "sandbox/edge/spec_json.h"

namespace hadal::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMargin = 64 << 20;       // what a new sandbox is expected to use until it is seen to use more
constexpr std::size_t kRemembered = 1000;  // closed sandboxes that can still say when and why

double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::int64_t memory_line(const char* name) {
  std::istringstream lines(read_text("/proc/meminfo"));
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(name)) {
      std::int64_t kib = 0;
      std::istringstream(line.substr(line.find(':') + 1)) >> kib;
      return kib << 10;
    }
  return 0;
}

std::string now_text() {
  const std::time_t t = std::time(nullptr);
  struct tm parts = {};
  ::gmtime_r(&t, &parts);
  char buffer[32];
  std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return buffer;
}

// Letters and digits that cannot be taken for each other.
std::string compact(std::uint64_t n, int least = 1) {
  constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  std::string s;
  do s.insert(s.begin(), kAlphabet[n % 32]);
  while ((n /= 32) != 0 || static_cast<int>(s.size()) < least);
  return s;
}

}  // namespace

struct Edge::Sandbox {
  std::string id;
  CreateSpec spec;
  CreatePhases phases;
  std::mutex mutex;  // held while its state changes
  State state = State::kCreating;
  std::string reason;
  std::unique_ptr<Box> box;
  Substrate* substrate = nullptr;
  Clock::time_point created = Clock::now(), used = Clock::now(), paused_at;
  std::atomic<std::int64_t> busy = 0;
  std::atomic<std::int64_t> high_water = 0;  // bytes seen in use
};

Status may_enter(const EdgeOptions& o, const Promised& promised, const CreateSpec& wanted,
                 std::int64_t available_bytes) {
  if (promised.sandboxes >= o.most_sandboxes)
    return fail(ErrorCode::kBusy, "{} sandboxes are open, the most for this host; close some or try again later",
                promised.sandboxes);
  const double cpus = promised.cpus + wanted.resources.cpus, cpu_room = o.host_cpus * o.cpu_overcommit;
  if (wanted.resources.cpus > o.host_cpus)
    return fail(ErrorCode::kUsage, "cpus: {} were asked for and this host has {}", wanted.resources.cpus, o.host_cpus);
  if (wanted.resources.memory_bytes > o.host_memory_bytes)
    return fail(ErrorCode::kUsage, "memory_mb: {} MiB were asked for and this host has {} MiB",
                wanted.resources.memory_bytes >> 20, o.host_memory_bytes >> 20);
  if (cpus > cpu_room)
    return fail(ErrorCode::kBusy, "cpus: {:.1f} are promised of {:.1f} that may be; try again later", promised.cpus,
                cpu_room);
  const double limit = wanted.resources.memory_bytes > 0 ? static_cast<double>(wanted.resources.memory_bytes) : kMargin;
  const double share = wanted.qos == Qos::kLatency ? limit : std::min(limit, kMargin) / o.memory_overcommit_bulk;
  if (promised.memory_bytes + share > static_cast<double>(o.host_memory_bytes - o.memory_floor_bytes))
    return fail(ErrorCode::kBusy, "memory: {:.0f} MiB are promised of {} MiB; try again later",
                promised.memory_bytes / (1 << 20), (o.host_memory_bytes - o.memory_floor_bytes) >> 20);
  if (available_bytes < o.memory_floor_bytes)
    return fail(ErrorCode::kBusy, "memory: {} MiB are free on this host, {} are kept back; try again later",
                available_bytes >> 20, o.memory_floor_bytes >> 20);
  return {};
}

Result<std::unique_ptr<Edge>> Edge::open(const EdgeOptions& options,
                                         std::vector<std::unique_ptr<Substrate>> substrates) {
  std::unique_ptr<Edge> edge(new Edge);
  edge->options_ = options;
  edge->substrates_ = std::move(substrates);
  if (edge->options_.host_memory_bytes == 0) edge->options_.host_memory_bytes = memory_line("MemTotal");
  if (edge->options_.host_cpus == 0) edge->options_.host_cpus = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  // Ids are never given twice: every start of the edge has a number of its own.
  std::uint64_t boot = 0;
  std::istringstream(read_text(options.data + "/boot")) >> boot;
  ++boot;
  AtomicFile file = HADAL_TRY(AtomicFile::create(options.data + "/boot", 0600));
  const std::string text = std::to_string(boot) + "\n";
  file.write(text.data(), text.size());
  HADAL_CHECK_OK(file.commit());
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  edge->name_ = compact(std::hash<std::string>()(std::string(host) + options.data) & 0xFFFFF, 4) + "." + compact(boot);
  edge->adopt_all();
  edge->clock_ = std::thread([raw = edge.get()] { raw->keep_time(); });
  return edge;
}

Edge::~Edge() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    stop_.notify_all();
  }
  if (clock_.joinable()) clock_.join();
}

std::vector<std::pair<std::string, std::vector<Capability>>> Edge::capabilities() const {
  std::vector<std::pair<std::string, std::vector<Capability>>> all;
  for (const auto& s : substrates_) all.emplace_back(substrate_name(s->kind()), s->capabilities());
  return all;
}

std::string Edge::new_name(const char* prefix) {
  const std::lock_guard lock(mutex_);
  return fmt::format("{}_{}.{}", prefix, name_, compact(static_cast<std::uint64_t>(++next_)));
}

void Edge::adopt_all() {
  for (const auto& substrate : substrates_) {
    const auto ids = substrate->list();
    if (!ids) {
      log_at(LogLevel::kWarn, "sandboxes of an earlier edge cannot be found: {}", ids.error().what);
      continue;
    }
    for (const std::string& id : *ids) {
      const auto spec = parse_create(read_text(options_.data + "/sb/" + id + "/edge.json"));
      auto box = spec ? substrate->adopt(id) : fail(ErrorCode::kNotFound, "sandbox {} was never finished", id);
      if (!box) {
        log_at(LogLevel::kInfo, "{} is removed: {}", id, box.error().what);
        if (const Status gone = substrate->destroy(id); !gone) log_at(LogLevel::kWarn, "{}", gone.error().what);
        continue;
      }
      auto s = std::make_shared<Sandbox>();
      s->id = id;
      s->spec = *spec;
      s->substrate = substrate.get();
      s->box = std::move(*box);
      s->state = s->box->paused() ? State::kPaused : State::kRunning;
      s->paused_at = Clock::now();
      if (!s->box->agent().alive()) {
        s->state = State::kFailed;
        s->reason = "its first process ended while no edge was there";
      }
      if (!spec->idempotency_key.empty()) by_key_[spec->idempotency_key] = id;
      sandboxes_[id] = s;
      ++adopted_;
    }
  }
}

void Edge::set_state(Sandbox& s, State state, const std::string& reason) {
  if (!may_follow(s.state, state)) {
    log_at(LogLevel::kError, "{}: {} cannot follow {}", s.id, state_name(state), state_name(s.state));
    return;
  }
  s.state = state;
  s.reason = reason;
}

Status Edge::admit(const CreateSpec& spec) {
  Promised promised;
  promised.sandboxes = static_cast<std::int64_t>(sandboxes_.size());
  for (const auto& [id, s] : sandboxes_) {
    promised.cpus += s->spec.resources.cpus;
    const double limit =
        s->spec.resources.memory_bytes > 0 ? static_cast<double>(s->spec.resources.memory_bytes) : 1e18;
    const double use = std::min(limit, static_cast<double>(s->high_water.load()) + kMargin);
    promised.memory_bytes += s->spec.qos == Qos::kLatency ? limit : use / options_.memory_overcommit_bulk;
  }
  return may_enter(options_, promised, spec, memory_line("MemAvailable"));
}

Result<std::string> Edge::create(const CreateSpec& spec) {
  const auto begun = Clock::now();
  Substrate* substrate = nullptr;
  for (const auto& s : substrates_)
    if (s->kind() == spec.substrate) substrate = s.get();
  if (substrate == nullptr)
    return fail(ErrorCode::kUnsupported, "substrate {}: this host does not have it; 'hadal sandbox doctor' says why",
                substrate_name(spec.substrate));
  auto s = std::make_shared<Sandbox>();
  std::unique_lock own(s->mutex);  // calls that find it early wait until it is made
  {
    const std::lock_guard lock(mutex_);
    if (!spec.idempotency_key.empty())
      if (const auto known = by_key_.find(spec.idempotency_key); known != by_key_.end()) return known->second;
    HADAL_CHECK_OK(admit(spec));
    s->id = fmt::format("sb_{}.{}", name_, compact(static_cast<std::uint64_t>(++next_)));
    s->spec = spec;
    s->spec.files.clear();
    s->substrate = substrate;
    sandboxes_[s->id] = s;
    if (!spec.idempotency_key.empty()) by_key_[spec.idempotency_key] = s->id;
  }
  s->phases.placed_ms = since(begun) * 1e3;
  auto box = substrate->create(s->id, spec, s->phases);
  if (!box) {
    const std::lock_guard lock(mutex_);
    set_state(*s, State::kFailed, box.error().what);
    sandboxes_.erase(s->id);
    by_key_.erase(spec.idempotency_key);
    return std::unexpected(box.error());
  }
  s->box = std::move(*box);
  store(*s);
  set_state(*s, State::kRunning);
  s->used = Clock::now();
  return s->id;
}

void Edge::store(const Sandbox& s) {
  // A plain write: a torn file means the sandbox was never finished, which is true then.
  std::ofstream(options_.data + "/sb/" + s.id + "/edge.json") << create_json(s.spec);
}

Result<std::shared_ptr<Edge::Sandbox>> Edge::find(const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = sandboxes_.find(id); found != sandboxes_.end()) return found->second;
  if (const auto closed = closed_.find(id); closed != closed_.end())
    return fail(ErrorCode::kCancelled, "sandbox {} is gone: {}", id, closed->second);
  return fail(ErrorCode::kNotFound, "there is no sandbox {:.80}; 'hadal sandbox ls' lists them", id);
}

Result<SandboxInfo> Edge::info(const std::string& id) {
  const auto s = HADAL_TRY(find(id));
  const std::lock_guard lock(s->mutex);
  if (s->state == State::kRunning && !s->box->agent().alive())
    set_state(*s, State::kFailed, "its first process or its keeper ended");
  SandboxInfo i;
  i.id = s->id;
  i.image = s->spec.image;
  i.job = s->spec.job;
  i.reason = s->reason;
  i.substrate = s->spec.substrate;
  i.state = s->state;
  i.labels = s->spec.labels;
  i.age_s = since(s->created);
  i.idle_s = s->busy > 0 ? 0 : since(s->used);
  i.operations = s->busy;
  i.phases = s->phases;
  i.resources = s->spec.resources;
  if (s->box)
    if (const auto u = s->box->usage()) i.usage = *u;
  return i;
}

std::vector<SandboxInfo> Edge::list(const std::string& job) {
  std::vector<std::string> ids;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, s] : sandboxes_)
      if (job.empty() || s->spec.job == job) ids.push_back(id);
  }
  std::vector<SandboxInfo> rows;
  for (const std::string& id : ids)
    if (auto i = info(id)) rows.push_back(std::move(*i));
  return rows;
}

Status Edge::close_locked(Sandbox& s, const std::string& why) {
  if (s.state == State::kClosed) return {};
  set_state(s, State::kClosing);
  // A frozen process cannot die.
  if (s.box && s.box->paused()) (void)s.box->resume();
  const Status closed = s.box ? s.box->close() : s.substrate->destroy(s.id);
  if (!closed) {
    set_state(s, State::kFailed, closed.error().what);
    return closed;
  }
  set_state(s, State::kClosed);
  const std::lock_guard lock(mutex_);
  sandboxes_.erase(s.id);
  by_key_.erase(s.spec.idempotency_key);
  closed_[s.id] = fmt::format("{} at {}", why, now_text());
  closed_order_.push_back(s.id);
  if (closed_order_.size() > kRemembered) {
    closed_.erase(closed_order_.front());
    closed_order_.erase(closed_order_.begin());
  }
  return {};
}

Status Edge::close(const std::string& id) {
  const auto s = HADAL_TRY(find(id));
  const std::lock_guard lock(s->mutex);
  return close_locked(*s, "closed by a client");
}

Result<std::int64_t> Edge::pause_locked(Sandbox& s) {
  if (s.state == State::kPaused) return 0;
  if (s.state != State::kRunning)
    return fail(ErrorCode::kUsage, "sandbox {} is {}; only a running one can be paused", s.id, state_name(s.state));
  set_state(s, State::kPausing);
  const auto freed = s.box->pause();
  if (!freed) {
    set_state(s, State::kRunning);
    return std::unexpected(freed.error());
  }
  set_state(s, State::kPaused);
  s.paused_at = Clock::now();
  return *freed;
}

Status Edge::resume_locked(Sandbox& s) {
  if (s.state == State::kRunning) return {};
  if (s.state != State::kPaused)
    return fail(ErrorCode::kUsage, "sandbox {} is {}{}{}", s.id, state_name(s.state), s.reason.empty() ? "" : ": ",
                s.reason);
  set_state(s, State::kResuming);
  if (const Status resumed = s.box->resume(); !resumed) {
    set_state(s, State::kPaused);
    return resumed;
  }
  set_state(s, State::kRunning);
  s.used = Clock::now();
  return {};
}

Result<std::int64_t> Edge::pause(const std::string& id) {
  const auto s = HADAL_TRY(find(id));
  const std::lock_guard lock(s->mutex);
  return pause_locked(*s);
}

Status Edge::resume(const std::string& id) {
  const auto s = HADAL_TRY(find(id));
  const std::lock_guard lock(s->mutex);
  return resume_locked(*s);
}

Status Edge::renew(const std::string& id, const Ttl& ttl) {
  const auto s = HADAL_TRY(find(id));
  const std::lock_guard lock(s->mutex);
  s->spec.ttl = ttl;
  s->created = s->used = Clock::now();
  store(*s);
  return {};
}

Result<DiffLayer> Edge::pack_diff(const std::string& id, const DiffRequest& request) {
  const auto s = HADAL_TRY(find(id));
  if (!options_.layers) return fail(ErrorCode::kUnsupported, "this edge has no layer store");
  return options_.layers->pack_diff(
      id, request, [&](const std::string& folder, const std::vector<std::string>& left_out) -> Result<ChangeCopy> {
        const std::lock_guard lock(s->mutex);
        if (s->state != State::kRunning && s->state != State::kPaused)
          return fail(ErrorCode::kUsage, "sandbox {} is {}", id, state_name(s->state));
        return s->box->copy_changes(folder, left_out);
      });
}

Result<int> Edge::for_job(const std::string& job, const std::string& what) {
  if (job.empty()) return fail(ErrorCode::kUsage, "a job has a name");
  int n = 0;
  Status first;
  for (const SandboxInfo& i : list(job)) {
    Status done;
    if (what == "stop")
      done = close(i.id);
    else if (what == "resume")
      done = resume(i.id);
    else if (auto freed = pause(i.id); !freed)
      done = std::unexpected(freed.error());
    if (done)
      ++n;
    else if (first)
      first = done;
  }
  if (!first) return std::unexpected(first.error());
  return n;
}

Result<Edge::Use> Edge::use(const std::string& id) {
  const auto s = HADAL_TRY(find(id));
  const std::lock_guard lock(s->mutex);
  HADAL_CHECK_OK(resume_locked(*s));
  if (!s->box->agent().alive()) {
    set_state(*s, State::kFailed, "its first process or its keeper ended");
    return fail(ErrorCode::kIo, "sandbox {} has failed: {}", id, s->reason);
  }
  ++s->busy;
  s->used = Clock::now();
  Use u;
  u.agent_ = &s->box->agent();
  u.busy_ = std::shared_ptr<void>(nullptr, [s](void*) {
    --s->busy;
    s->used = Clock::now();
  });
  return u;
}

namespace {

// Holds the sandbox busy until the end, and lets the agent forget what no one can ask for again.
class HoldingSink final : public OperationSink {
 public:
  HoldingSink(Edge::Use use, std::string forget, std::shared_ptr<OperationSink> inner)
      : use_(std::move(use)), forget_(std::move(forget)), inner_(std::move(inner)) {}
  void started(std::int64_t pid) override { inner_->started(pid); }
  void output(int stream, std::int64_t offset, std::string_view bytes) override {
    inner_->output(stream, offset, bytes);
  }
  void ended(const ExecResult& result) override {
    inner_->ended(result);
    if (!forget_.empty()) use_.agent().forget(forget_);
    use_ = {};
  }
  void failed(const Error& error) override {
    inner_->failed(error);
    use_ = {};
  }

 private:
  Edge::Use use_;
  std::string forget_;
  std::shared_ptr<OperationSink> inner_;
};

}  // namespace

Status Edge::exec(const std::string& id, const std::string& op, const ExecRequest& request,
                  std::shared_ptr<OperationSink> sink) {
  Use used = HADAL_TRY(use(id));
  Agent& agent = used.agent();
  const std::string name = op.empty() ? new_name("op") : op;
  // A background operation does not keep its sandbox from pausing, and its result waits for whoever asks.
  if (request.background) {
    agent.start(name, request, std::move(sink));
    return {};
  }
  agent.start(name, request, std::make_shared<HoldingSink>(std::move(used), op.empty() ? name : "", std::move(sink)));
  return {};
}

void Edge::keep_time() {
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, std::chrono::milliseconds(500), [this] { return stopping_; })) {
    std::vector<std::shared_ptr<Sandbox>> all;
    for (const auto& [id, s] : sandboxes_) all.push_back(s);
    lock.unlock();
    for (const auto& s : all) {
      const std::unique_lock own(s->mutex, std::try_to_lock);
      if (!own || !s->box) continue;  // someone is changing it; next time
      if (const auto u = s->box->usage()) s->high_water = std::max(s->high_water.load(), u->memory_peak_bytes);
      const Ttl& t = s->spec.ttl;
      Status done;
      if (t.life_s > 0 && since(s->created) > t.life_s)
        done = close_locked(*s, fmt::format("its life of {} s was over", t.life_s));
      else if (s->state == State::kPaused && t.paused_s > 0 && since(s->paused_at) > t.paused_s)
        done = close_locked(*s, fmt::format("it was paused for {} s", t.paused_s));
      else if (s->state == State::kRunning && t.idle_s > 0 && s->busy == 0 && since(s->used) > t.idle_s) {
        if (t.stop_on_idle)
          done = close_locked(*s, fmt::format("it was idle for {} s", t.idle_s));
        else if (const auto freed = pause_locked(*s); !freed)
          done = std::unexpected(freed.error());
      }
      if (!done) log_at(LogLevel::kWarn, "{}", done.error().what);
    }
    lock.lock();
  }
}

}  // namespace hadal::sandbox
