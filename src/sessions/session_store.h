// The folder of a machine's sessions: DATA/sessions/<id>.log, and an index that is made from them. Any thread; several
// processes may share a folder, each session belongs to the one that has it open.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "sessions/session_index.h"
#include "sessions/session_log.h"

namespace hadal {

struct SessionSummary {
  std::string id, model, parent, title;
  Position length = 0;  // of the live branch
  std::int64_t branches = 0;
  std::int64_t created_ms = 0, updated_ms = 0;  // since 1970
  std::int64_t file_bytes = 0;
  SessionIdentity identity;
  bool usable = false;  // belongs to the store's model and can be opened
  std::string problem;  // why not, in a sentence
};

struct SessionStoreOptions {
  // Of the running model. Without it sessions of any model are listed, and none can be made or found by prefix.
  std::optional<SessionIdentity> identity;
  std::string model;  // its name, for people
  SyncPolicy::Mode sync = SyncPolicy::Mode::kInterval;
  std::chrono::milliseconds sync_every{50};
};

struct ImportOptions {
  std::string id;          // under which the session is kept; empty: its own
  bool any_model = false;  // take a session of other weights or numerics: its tokens stay, its cache is made again
};

class SessionStore {
 public:
  // Makes the folder `data`/sessions when it is missing. kIo.
  static Result<std::unique_ptr<SessionStore>> open(const std::string& data, const SessionStoreOptions& options = {});

  // A new session of the store's model. `id` empty: one is made. kUsage: the id is taken or cannot be one.
  Result<SessionLog> create(const std::string& id = {});
  // For appending. kNotFound; kBusy: open already, here or elsewhere; kUnsupported: made by another model; kBadInput.
  Result<SessionLog> open_session(const std::string& id);
  // For reading, whoever has it open and whatever model made it.
  Result<SessionLog> read(const std::string& id) const;
  Result<SessionLog> fork(const SessionLog& from, Position length, BranchId branch, const std::string& id = {});

  // After something was appended: the index follows. Cheap enough for the end of every job (it hashes the live ids).
  void update(const SessionLog& log);

  // By time of the last change, newest first. Reads logs that changed behind the index.
  Result<std::vector<SessionSummary>> list();
  // The session a person means: an id, or the beginning of exactly one. kNotFound, kUsage.
  Result<std::string> resolve(const std::string& beginning);
  Status remove(const std::string& id);  // kNotFound; kBusy: open

  // The session whose live branch is the longest beginning of `ids`, at least `least` tokens long; of several, the one
  // changed last. Nothing when there is none. As new as the last update() or list(). It may be open (kBusy then).
  std::optional<std::string> find_prefix(std::span<const TokenId> ids, Position least = 1) const;

  // The session that a job of this id ran in, by the index. Nothing when unknown.
  std::optional<std::string> session_of_job(const std::string& job) const;

  // One file that holds the whole session, checked; with `intact`, of a damaged session what comes before the damage.
  // Gives the bytes that were left out. kUsage when the file exists.
  Result<std::int64_t> export_to(const std::string& id, const std::string& file, bool intact = false) const;
  // Checks a file and keeps it under its id. kUsage: the id is taken; kUnsupported: made by another model, and what to
  // do; kBadInput: damaged. A session of another tokenizer is never taken: its ids mean other text.
  Result<std::string> import_from(const std::string& file, const ImportOptions& options = {});

  const std::optional<SessionIdentity>& identity() const { return options_.identity; }
  const std::string& folder() const { return folder_; }
  const SyncPolicy& sync_policy() const { return sync_; }  // for other files in the same data folder

 private:
  using Hash = std::pair<std::uint64_t, std::uint64_t>;
  SessionStore(std::string folder, SessionIndex index, const SessionStoreOptions& options);
  std::string path_of(const std::string& id) const { return folder_ + "/" + id + ".log"; }
  Status refresh();  // with mutex_ held
  void keep(IndexedSession entry);
  void drop(const std::string& id);
  Status needs_model() const;
  Result<std::string> free_path(const std::string& id, const char* remedy) const;
  SessionSummary summary(const IndexedSession& entry) const;
  bool known_model(const SessionIdentity& identity) const;

  const std::string folder_;
  const SessionStoreOptions options_;
  SyncPolicy sync_;
  mutable std::mutex mutex_;
  SessionIndex index_;
  std::map<std::string, IndexedSession> sessions_;
  // Sessions of our model by the length and the hash of their live branch.
  std::map<Position, std::map<Hash, std::set<std::string>>> by_prefix_;
};

// DATA when --data is not given: $XDG_DATA_HOME/hadal or ~/.local/share/hadal. kUsage when neither variable is set.
Result<std::string> default_data_folder();

}  // namespace hadal
