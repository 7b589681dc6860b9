#include "sessions/session_index.h"

#include <sqlite3.h>
#include <unistd.h>

#include <utility>

namespace hadal {
namespace {

constexpr int kVersion = 2;  // of the table; another one is made again from the logs

constexpr const char* kTable =
    "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, header BLOB NOT NULL, length INTEGER NOT NULL,"
    " branches INTEGER NOT NULL, hash_high INTEGER NOT NULL, hash_low INTEGER NOT NULL, file_bytes INTEGER NOT NULL,"
    " file_time_ns INTEGER NOT NULL, title TEXT NOT NULL, problem TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, session TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS jobs_of ON jobs (session)";

// One prepared statement. Parameters and columns count from 0.
class Statement {
 public:
  Statement(sqlite3* db, const char* sql) { ok_ = sqlite3_prepare_v2(db, sql, -1, &s_, nullptr) == SQLITE_OK; }
  ~Statement() { sqlite3_finalize(s_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  void bind(int i, std::int64_t v) { ok_ = ok_ && sqlite3_bind_int64(s_, i + 1, v) == SQLITE_OK; }
  void bind(int i, const std::string& v) {
    ok_ = ok_ && sqlite3_bind_text(s_, i + 1, v.data(), static_cast<int>(v.size()), SQLITE_TRANSIENT) == SQLITE_OK;
  }
  void bind(int i, Bytes v) {
    ok_ = ok_ && sqlite3_bind_blob(s_, i + 1, v.data(), static_cast<int>(v.size()), SQLITE_TRANSIENT) == SQLITE_OK;
  }
  int step() { return ok_ ? sqlite3_step(s_) : SQLITE_ERROR; }
  std::int64_t integer(int i) { return sqlite3_column_int64(s_, i); }
  std::string text(int i) {
    const auto* p = reinterpret_cast<const char*>(sqlite3_column_text(s_, i));
    return p ? std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(s_, i))) : std::string();
  }
  Bytes blob(int i) {
    const auto* p = static_cast<const std::byte*>(sqlite3_column_blob(s_, i));
    return p ? Bytes(p, static_cast<std::size_t>(sqlite3_column_bytes(s_, i))) : Bytes();
  }

 private:
  sqlite3_stmt* s_ = nullptr;
  bool ok_ = false;
};

std::unexpected<Error> failed(const std::string& path, sqlite3* db) {
  return fail(ErrorCode::kIo, "{}: the index cannot be used: {}", path, db ? sqlite3_errmsg(db) : "no memory");
}

}  // namespace

void SessionIndex::Close::operator()(sqlite3* db) const { sqlite3_close(db); }

Result<SessionIndex::Database> SessionIndex::open_database(const std::string& path) {
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  Database db(raw);
  if (opened != SQLITE_OK) return failed(path, raw);
  sqlite3_busy_timeout(raw, 5000);  // a server and a command line may share the folder
  // Losing the newest rows in a power cut is harmless: they are made again from the logs.
  if (sqlite3_exec(raw, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", nullptr, nullptr, nullptr) !=
      SQLITE_OK)
    return failed(path, raw);
  std::int64_t version = 0;
  {
    Statement s(raw, "PRAGMA user_version");
    if (s.step() != SQLITE_ROW) return failed(path, raw);
    version = s.integer(0);
  }
  if (version != 0 && version != kVersion)
    return fail(ErrorCode::kUnsupported, "{}: is an index of version {}", path, version);
  const std::string make = fmt::format("{}; PRAGMA user_version = {}", kTable, kVersion);
  if (sqlite3_exec(raw, make.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return failed(path, raw);
  Statement check(raw,
                  "SELECT sessions.id, header, length, branches, hash_high, hash_low, file_bytes, file_time_ns, title,"
                  " problem, jobs.session FROM sessions, jobs LIMIT 1");
  const int row = check.step();
  if (row != SQLITE_ROW && row != SQLITE_DONE) return failed(path, raw);
  return db;
}

Result<SessionIndex> SessionIndex::open(const std::string& path) {
  auto db = open_database(path);
  if (!db) {
    // Nothing in it is worth keeping.
    for (const char* end : {"", "-wal", "-shm"}) ::unlink((path + end).c_str());
    db = open_database(path);
  }
  if (!db) return std::unexpected(db.error());
  return SessionIndex(std::move(*db), path);
}

Status SessionIndex::run(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failed(path_, db_.get());
  return {};
}

Status SessionIndex::begin() { return run("BEGIN IMMEDIATE"); }
Status SessionIndex::commit() { return run("COMMIT"); }

Result<std::vector<IndexedSession>> SessionIndex::all() const {
  Statement s(db_.get(),
              "SELECT id, header, length, branches, hash_high, hash_low, file_bytes, file_time_ns, title,"
              " problem FROM sessions");
  std::vector<IndexedSession> out;
  int row = 0;
  while ((row = s.step()) == SQLITE_ROW) {
    IndexedSession e;
    auto header = decode_header(s.blob(1));
    if (!header || header->id != s.text(0)) continue;  // the store reads the log again
    e.header = std::move(*header);
    e.length = s.integer(2);
    e.branches = s.integer(3);
    e.hash_high = static_cast<std::uint64_t>(s.integer(4));
    e.hash_low = static_cast<std::uint64_t>(s.integer(5));
    e.file_bytes = s.integer(6);
    e.file_time_ns = s.integer(7);
    e.title = s.text(8);
    e.problem = s.text(9);
    out.push_back(std::move(e));
  }
  if (row != SQLITE_DONE) return failed(path_, db_.get());
  return out;
}

Status SessionIndex::put(const IndexedSession& e) {
  Statement s(db_.get(), "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  s.bind(0, e.header.id);
  s.bind(1, Bytes(encode(e.header)));
  s.bind(2, e.length);
  s.bind(3, e.branches);
  s.bind(4, static_cast<std::int64_t>(e.hash_high));
  s.bind(5, static_cast<std::int64_t>(e.hash_low));
  s.bind(6, e.file_bytes);
  s.bind(7, e.file_time_ns);
  s.bind(8, e.title);
  s.bind(9, e.problem);
  if (s.step() != SQLITE_DONE) return failed(path_, db_.get());
  for (const std::string& job : e.jobs) {
    Statement j(db_.get(), "INSERT OR REPLACE INTO jobs VALUES (?, ?)");
    j.bind(0, job);
    j.bind(1, e.header.id);
    if (j.step() != SQLITE_DONE) return failed(path_, db_.get());
  }
  return {};
}

std::optional<std::string> SessionIndex::session_of_job(const std::string& job) const {
  Statement s(db_.get(), "SELECT session FROM jobs WHERE id = ?");
  s.bind(0, job);
  if (s.step() != SQLITE_ROW) return std::nullopt;
  return s.text(0);
}

Status SessionIndex::remove(const std::string& id) {
  Statement s(db_.get(), "DELETE FROM sessions WHERE id = ?");
  s.bind(0, id);
  Statement j(db_.get(), "DELETE FROM jobs WHERE session = ?");
  j.bind(0, id);
  return s.step() == SQLITE_DONE && j.step() == SQLITE_DONE ? Status{} : failed(path_, db_.get());
}

}  // namespace hadal
