// A job's side of its session: what the scheduler writes down before anybody hears of it, and what a restart finds.
//
// DATA/sessions holds the logs. DATA/running holds an empty file for every session with a job that began and has not
// ended, so that a restart need not read every log to find those.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sessions/job.h"
#include "sessions/session_store.h"

namespace hadal {

// A job that a crash or a shutdown interrupted, and its answer so far.
struct InterruptedJob {
  JobRequest request;
  std::vector<JobToken> tokens;
};

class JobLogs;

// A job that an earlier process ended: its whole answer, and how it ended.
struct EndedJob {
  JobRequest request;
  std::vector<JobToken> tokens;
  JobEnd end;
};

// One job's session, open for appending. One thread.
class JobLog {
 public:
  Status token(const JobToken& token);  // with the operating system when this returns
  // The job is over: it will not be continued.
  Status end(const JobEnd& end);

 private:
  friend class JobLogs;
  JobLog(JobLogs& owner, SessionLog log) : owner_(&owner), log_(std::move(log)) {}
  JobLogs* owner_;
  SessionLog log_;
};

class JobLogs {
 public:
  // kIo.
  static Result<std::unique_ptr<JobLogs>> open(const std::string& data, const SessionStoreOptions& options);

  // The session a prompt goes on in, or the id of one to be made. `taken` says which are in use.
  template <class Taken>
  std::string choose(std::span<const TokenId> prompt, Taken&& taken) const {
    if (auto found = store_->find_prefix(prompt); found && !taken(*found)) return *found;
    return new_session_id();
  }

  // Opens or makes request.session, brings its live branch to the prompt (what differs becomes a new branch), and
  // notes that the job begins; `interrupted`: it has begun already. Errors: those of SessionStore; kBusy: the session
  // is open elsewhere.
  Result<JobLog> begin(const JobRequest& request, bool interrupted);

  // What the last process left. A session that cannot be read is left out, with its reason in `problems`.
  std::vector<InterruptedJob> interrupted(std::vector<Error>& problems) const;

  // The job of this id that ended last, from its session's log. Nothing: none is known, or its log cannot be read.
  std::optional<EndedJob> ended(const std::string& id) const;

  SessionStore& store() { return *store_; }

 private:
  friend class JobLog;
  JobLogs(std::string running, std::unique_ptr<SessionStore> store)
      : running_(std::move(running)), store_(std::move(store)) {}
  std::string marker(const std::string& session) const { return running_ + "/" + session; }

  const std::string running_;
  std::unique_ptr<SessionStore> store_;
};

}  // namespace hadal
