// What the store knows of each session without reading its log, kept in SQLite. Made again from the logs whenever it is
// missing, damaged, of another version or older than a log: the logs are the truth.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sessions/log_records.h"

struct sqlite3;

namespace hadal {

struct IndexedSession {
  SessionHeader header;
  Position length = 0;  // of the live branch
  std::int64_t branches = 0;
  std::uint64_t hash_high = 0, hash_low = 0;      // XXH3-128 of the live branch's ids as int32
  std::int64_t file_bytes = 0, file_time_ns = 0;  // of the log when it was read
  std::string title;                              // as the log has it
  std::vector<std::string> jobs;                  // ids of its jobs that clients may ask for again
  std::string problem;                            // why the log cannot be opened; empty: it can
};

class SessionIndex {
 public:
  // Opens or makes the file. A file that is no index of this version is replaced. kIo.
  static Result<SessionIndex> open(const std::string& path);

  Result<std::vector<IndexedSession>> all() const;  // without jobs
  Status put(const IndexedSession& session);
  Status remove(const std::string& id);
  // The session a job of this id ran in; of several the one put last. Nothing when unknown.
  std::optional<std::string> session_of_job(const std::string& job) const;
  // Between the two, changes are one transaction.
  Status begin();
  Status commit();

 private:
  struct Close {
    void operator()(sqlite3* db) const;
  };
  using Database = std::unique_ptr<sqlite3, Close>;
  SessionIndex(Database db, std::string path) : db_(std::move(db)), path_(std::move(path)) {}
  static Result<Database> open_database(const std::string& path);
  Status run(const char* sql);
  Database db_;
  std::string path_;
};

}  // namespace hadal
