#include "sessions/session_store.h"

#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/log.h"
#include "files/display_name.h"
#include "sessions/session_identity.h"

namespace hadal {
namespace {

constexpr std::string_view kEnding = ".log";

XXH128_hash_t hash_ids(std::span<const TokenId> ids) { return XXH3_128bits(ids.data(), ids.size_bytes()); }

// Size and time of change, by which a log that changed is known.
bool stat_log(const std::string& path, std::int64_t& bytes, std::int64_t& time_ns) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  bytes = info.st_size;
  time_ns = std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  return true;
}

IndexedSession entry_of(const SessionLog& log) {
  IndexedSession e;
  e.header = log.header();
  e.length = log.length();
  e.branches = static_cast<std::int64_t>(log.history().branch_count());
  const XXH128_hash_t hash = hash_ids(log.tokens());
  e.hash_high = hash.high64;
  e.hash_low = hash.low64;
  e.title = log.history().title();
  for (const LoggedJob& job : log.history().jobs())
    if (!made_up_job_id(job.id)) e.jobs.push_back(job.id);
  return e;
}

// What the store remembers of the file `path`, named `id`, as it is now.
IndexedSession read_entry(const std::string& path, const std::string& id) {
  std::int64_t bytes = 0, time_ns = 0;
  stat_log(path, bytes, time_ns);  // before reading: what is appended meanwhile is seen next time
  IndexedSession e;
  auto log = SessionLog::read(path);
  if (!log) {
    e.problem = log.error().what;
  } else if (log->id() != id) {
    e.problem = fmt::format("{}: holds the session {}; give the file that name", path, log->id());
  } else {
    e = entry_of(*log);
  }
  e.header.id = id;
  e.file_bytes = bytes;
  e.file_time_ns = time_ns;
  return e;
}

}  // namespace

Result<std::string> default_data_folder() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data && *data) return std::string(data) + "/hadal";
  if (const char* home = std::getenv("HOME"); home && *home) return std::string(home) + "/.local/share/hadal";
  return fail(ErrorCode::kUsage, "neither XDG_DATA_HOME nor HOME is set; name the data folder with --data");
}

SessionStore::SessionStore(std::string folder, SessionIndex index, const SessionStoreOptions& options)
    : folder_(std::move(folder)), options_(options), index_(std::move(index)) {
  sync_.mode = options.sync;
  sync_.every = options.sync_every;
  if (sync_.mode == SyncPolicy::Mode::kInterval) sync_.thread = std::make_shared<SyncThread>(sync_.every);
}

Result<std::unique_ptr<SessionStore>> SessionStore::open(const std::string& data, const SessionStoreOptions& options) {
  const std::string folder = data + "/sessions";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(ErrorCode::kIo, "{}: cannot make the folder: {}", folder, error.message());
  ::chmod(folder.c_str(), 0700);  // conversations are their owner's
  SessionIndex index = HADAL_TRY(SessionIndex::open(folder + "/index.sqlite"));
  std::unique_ptr<SessionStore> store(new SessionStore(folder, std::move(index), options));
  const std::lock_guard lock(store->mutex_);
  std::vector<IndexedSession> known = HADAL_TRY(store->index_.all());
  for (IndexedSession& e : known) store->keep(std::move(e));
  HADAL_CHECK_OK(store->refresh());
  return store;
}

bool SessionStore::known_model(const SessionIdentity& identity) const {
  return options_.identity && *options_.identity == identity;
}

void SessionStore::keep(IndexedSession e) {
  drop(e.header.id);
  if (e.problem.empty() && known_model(e.header.identity) && e.length > 0)
    by_prefix_[e.length][{e.hash_high, e.hash_low}].insert(e.header.id);
  std::string id = e.header.id;
  sessions_.emplace(std::move(id), std::move(e));
}

void SessionStore::drop(const std::string& id) {
  const auto s = sessions_.find(id);
  if (s == sessions_.end()) return;
  const IndexedSession& e = s->second;
  if (auto length = by_prefix_.find(e.length); length != by_prefix_.end()) {
    if (auto hash = length->second.find({e.hash_high, e.hash_low}); hash != length->second.end()) {
      hash->second.erase(id);
      if (hash->second.empty()) length->second.erase(hash);
    }
    if (length->second.empty()) by_prefix_.erase(length);
  }
  sessions_.erase(s);
}

Status SessionStore::refresh() {
  std::set<std::string> there;
  std::vector<std::string> changed;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.ends_with(kEnding)) continue;
    std::string id = name.substr(0, name.size() - kEnding.size());
    std::int64_t bytes = 0, time_ns = 0;
    if (!valid_session_id(id) || !stat_log(it->path().string(), bytes, time_ns)) continue;
    const auto known = sessions_.find(id);
    if (known == sessions_.end() || known->second.file_bytes != bytes || known->second.file_time_ns != time_ns)
      changed.push_back(id);
    there.insert(std::move(id));
  }
  if (error) return fail(ErrorCode::kIo, "{}: cannot be listed: {}", folder_, error.message());
  std::vector<std::string> gone;
  for (const auto& [id, e] : sessions_)
    if (!there.contains(id)) gone.push_back(id);
  if (changed.empty() && gone.empty()) return {};
  HADAL_CHECK_OK(index_.begin());
  Status kept;
  for (const std::string& id : gone) {
    drop(id);
    if (kept) kept = index_.remove(id);
  }
  for (const std::string& id : changed) {
    IndexedSession e = read_entry(path_of(id), id);
    if (kept) kept = index_.put(e);
    keep(std::move(e));
  }
  const Status committed = index_.commit();
  return kept ? committed : kept;
}

Status SessionStore::needs_model() const {
  if (options_.identity) return {};
  return fail(ErrorCode::kInternal, "{}: the store was opened without a model", folder_);
}

// Where a new session goes.
Result<std::string> SessionStore::free_path(const std::string& id, const char* remedy) const {
  if (!valid_session_id(id))
    return fail(ErrorCode::kUsage, "'{}' cannot be a session's id; use up to 64 of a-z A-Z 0-9 _ -", display_name(id));
  if (std::error_code none; std::filesystem::exists(path_of(id), none))
    return fail(ErrorCode::kUsage, "session {} is here already; {}", id, remedy);
  return path_of(id);
}

Result<SessionLog> SessionStore::create(const std::string& id) {
  HADAL_CHECK_OK(needs_model());
  SessionHeader header;
  header.identity = *options_.identity;
  header.model = options_.model.substr(0, 255);
  header.id = id.empty() ? new_session_id() : id;
  const std::string path = HADAL_TRY(free_path(header.id, "choose another id"));
  SessionLog log = HADAL_TRY(SessionLog::create(path, header, sync_));
  update(log);
  return log;
}

Result<SessionLog> SessionStore::open_session(const std::string& id) {
  if (!valid_session_id(id)) return fail(ErrorCode::kNotFound, "there is no session '{}'", display_name(id));
  auto log = SessionLog::open(path_of(id), sync_);
  if (!log && log.error().code == ErrorCode::kNotFound)
    return fail(ErrorCode::kNotFound, "there is no session '{}' in {}", id, folder_);
  if (!log) return log;
  if (log->id() != id)
    return fail(ErrorCode::kBadInput, "{}: holds the session {}; give the file that name", path_of(id), log->id());
  if (options_.identity && !known_model(log->header().identity))
    return fail(ErrorCode::kUnsupported, "session {} was made with other {} ({}); open it with that model", id,
                first_difference(*options_.identity, log->header().identity), display_name(log->header().model));
  return log;
}

Result<SessionLog> SessionStore::read(const std::string& id) const {
  if (!valid_session_id(id)) return fail(ErrorCode::kNotFound, "there is no session '{}'", display_name(id));
  auto log = SessionLog::read(path_of(id));
  if (!log && log.error().code == ErrorCode::kNotFound)
    return fail(ErrorCode::kNotFound, "there is no session '{}' in {}", id, folder_);
  return log;
}

Result<SessionLog> SessionStore::fork(const SessionLog& from, Position length, BranchId branch, const std::string& id) {
  SessionHeader header;
  header.id = id.empty() ? new_session_id() : id;
  const std::string path = HADAL_TRY(free_path(header.id, "choose another id"));
  SessionLog log = HADAL_TRY(from.fork(path, length, branch, std::move(header), sync_));
  update(log);
  return log;
}

void SessionStore::update(const SessionLog& log) {
  IndexedSession e = entry_of(log);
  // Earlier jobs are in the index since their own ends.
  constexpr std::ptrdiff_t kNewJobs = 16;
  if (std::ssize(e.jobs) > kNewJobs) e.jobs.erase(e.jobs.begin(), e.jobs.end() - kNewJobs);
  stat_log(log.path(), e.file_bytes, e.file_time_ns);
  const std::lock_guard lock(mutex_);
  // An index that cannot be written costs a rereading of this log at the next start, not the work at hand.
  if (Status s = index_.put(e); !s) log_at(LogLevel::kWarn, "{}", s.error().what);
  keep(std::move(e));
}

SessionSummary SessionStore::summary(const IndexedSession& e) const {
  SessionSummary s;
  s.id = e.header.id;
  s.model = e.header.model;
  s.parent = e.header.parent;
  s.title = e.title;
  s.length = e.length;
  s.branches = e.branches;
  s.created_ms = e.header.created_ms;
  s.updated_ms = e.file_time_ns / 1'000'000;
  s.file_bytes = e.file_bytes;
  s.identity = e.header.identity;
  s.problem = e.problem;
  if (s.problem.empty() && options_.identity && !known_model(s.identity))
    s.problem = fmt::format("made with other {}", first_difference(*options_.identity, s.identity));
  s.usable = s.problem.empty();
  return s;
}

Result<std::vector<SessionSummary>> SessionStore::list() {
  const std::lock_guard lock(mutex_);
  HADAL_CHECK_OK(refresh());
  std::vector<SessionSummary> out;
  for (const auto& [id, e] : sessions_) out.push_back(summary(e));
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return a.updated_ms != b.updated_ms ? a.updated_ms > b.updated_ms : a.id < b.id;
  });
  return out;
}

Result<std::string> SessionStore::resolve(const std::string& beginning) {
  const std::lock_guard lock(mutex_);
  HADAL_CHECK_OK(refresh());
  if (sessions_.contains(beginning)) return beginning;
  const auto first = sessions_.lower_bound(beginning);
  if (beginning.empty() || first == sessions_.end() || !first->first.starts_with(beginning))
    return fail(ErrorCode::kNotFound, "there is no session '{}' in {}", display_name(beginning), folder_);
  if (const auto second = std::next(first); second != sessions_.end() && second->first.starts_with(beginning))
    return fail(ErrorCode::kUsage, "'{}' is the beginning of several sessions, {} and {} among them; give more of it",
                beginning, first->first, second->first);
  return first->first;
}

Status SessionStore::remove(const std::string& id) {
  if (!valid_session_id(id)) return fail(ErrorCode::kNotFound, "there is no session '{}'", display_name(id));
  // Held while it goes, so that nobody is appending.
  auto log = SessionLog::open(path_of(id), sync_);
  if (!log && log.error().code == ErrorCode::kNotFound)
    return fail(ErrorCode::kNotFound, "there is no session '{}' in {}", id, folder_);
  if (!log && log.error().code == ErrorCode::kBusy) return std::unexpected(log.error());
  if (::unlink(path_of(id).c_str()) != 0)
    return fail(ErrorCode::kIo, "{}: cannot be removed: {}", path_of(id), std::strerror(errno));
  const std::lock_guard lock(mutex_);
  drop(id);
  return index_.remove(id);
}

std::optional<std::string> SessionStore::find_prefix(std::span<const TokenId> ids, Position least) const {
  const std::lock_guard lock(mutex_);
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  const std::set<std::string>* found = nullptr;
  Position hashed = 0;
  for (auto length = by_prefix_.lower_bound(std::max<Position>(least, 1));
       length != by_prefix_.end() && length->first <= static_cast<Position>(ids.size()); ++length) {
    XXH3_128bits_update(&state, ids.data() + hashed,
                        static_cast<std::size_t>(length->first - hashed) * sizeof(TokenId));
    hashed = length->first;
    const XXH128_hash_t hash = XXH3_128bits_digest(&state);
    if (auto same = length->second.find({hash.high64, hash.low64}); same != length->second.end()) found = &same->second;
  }
  if (!found) return std::nullopt;
  return *std::max_element(found->begin(), found->end(), [&](const std::string& a, const std::string& b) {
    return sessions_.at(a).file_time_ns < sessions_.at(b).file_time_ns;
  });
}

std::optional<std::string> SessionStore::session_of_job(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  return index_.session_of_job(job);
}

Result<std::int64_t> SessionStore::export_to(const std::string& id, const std::string& file, bool intact) const {
  if (intact && !valid_session_id(id)) return fail(ErrorCode::kNotFound, "there is no session '{}'", display_name(id));
  const SessionLog log = intact ? HADAL_TRY(SessionLog::read_intact(path_of(id))) : HADAL_TRY(read(id));
  SyncPolicy now;
  now.mode = SyncPolicy::Mode::kEveryWrite;
  if (std::error_code none; std::filesystem::exists(file, none))
    return fail(ErrorCode::kUsage, "{}: is there already; name a new file", file);
  SessionLog copy = HADAL_TRY(log.copy(file, log.header(), now));
  // Read back from the disk, against what the session has.
  const SessionLog again = HADAL_TRY(SessionLog::read(file));
  if (again.chain() != log.chain() || again.file_bytes() != log.file_bytes())
    return fail(ErrorCode::kIo, "{}: does not hold what was written; is the disk sound?", file);
  return log.cut_bytes();
}

Result<std::string> SessionStore::import_from(const std::string& file, const ImportOptions& options) {
  const SessionLog from = HADAL_TRY(SessionLog::read(file));
  if (from.cut_bytes() > 0)
    return fail(ErrorCode::kBadInput, "{}: its last {} bytes are torn; bring a complete copy", file, from.cut_bytes());
  SessionHeader header = from.header();
  if (!options.id.empty()) header.id = options.id;
  const std::string path = HADAL_TRY(free_path(header.id, "give another id with --as"));
  if (options_.identity && !known_model(header.identity)) {
    const std::string_view what = first_difference(*options_.identity, header.identity);
    if (what == "tokenizer")
      return fail(ErrorCode::kUnsupported, "{}: was made with another tokenizer ({}), its ids mean other text here",
                  file, display_name(header.model));
    if (!options.any_model)
      return fail(
          ErrorCode::kUnsupported,
          "{}: was made with other {} ({}); --any-model takes its tokens over, and its cache is made again from "
          "them",
          file, what, display_name(header.model));
    header.identity = *options_.identity;
    header.model = options_.model.substr(0, 255);
  }
  SessionLog log = HADAL_TRY(from.copy(path, header, sync_));
  update(log);
  return log.id();
}

}  // namespace hadal
