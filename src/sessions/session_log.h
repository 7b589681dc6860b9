// A session's log: the file that is the session. Everything else (pages, snapshots, transcripts) can be made from it.
// docs/formats/session-log.md.
//
//   auto log = HADAL_TRY(SessionLog::create(path, header));
//   log.hold();                                  // gather what belongs together into one write
//   HADAL_CHECK_OK(log.append(TokenOrigin::kPrompt, prompt));
//   HADAL_CHECK_OK(log.begin_job(LoggedJob::of(request, log.length()), {sampling, stream}));
//   HADAL_CHECK_OK(log.release());
//   HADAL_CHECK_OK(log.append({&token, 1}));     // before the token is sent anywhere
//
// What append() accepted is with the operating system when it returns, so it survives kill -9. One thread per log.
// Failures of a write are final for the object: open the file again.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "sessions/log_records.h"
#include "sessions/record_file.h"
#include "sessions/session_history.h"

namespace hadal {

class SessionLog {
 public:
  // `header.id` empty: one is made. kUsage: the file exists, the id cannot be one; kIo.
  static Result<SessionLog> create(const std::string& path, SessionHeader header, const SyncPolicy& sync = {});
  // Checks everything and cuts a torn end (cut_bytes()). kNotFound, kBusy (appended to elsewhere), kIo, kUnsupported
  // (another version), kBadInput (damaged in the middle: the message names the byte).
  static Result<SessionLog> open(const std::string& path, const SyncPolicy& sync = {});
  // The same beside a writer: sees what was complete when it looked, changes nothing, appends nothing.
  static Result<SessionLog> read(const std::string& path);
  // The same, and of a damaged log what comes before the damage: cut_bytes() says how much is lost.
  static Result<SessionLog> read_intact(const std::string& path);
  // The header alone. Nothing behind it is looked at.
  static Result<SessionHeader> read_header(const std::string& path);

  // Another file with every record of this one behind another header. For exports and imports.
  Result<SessionLog> copy(const std::string& path, const SessionHeader& header, const SyncPolicy& sync) const;

  const SessionHeader& header() const { return header_; }
  const std::string& id() const { return header_.id; }
  const std::string& path() const { return file_.path(); }
  const SessionHistory& history() const { return history_; }
  std::span<const TokenId> tokens() const { return history_.tokens(); }  // of the live branch
  Position length() const { return history_.length(); }
  std::int64_t file_bytes() const { return file_.size(); }
  std::int64_t cut_bytes() const { return file_.cut_bytes(); }  // of a torn end, when it was opened
  std::uint64_t chain() const { return file_.chain(); }         // checksum of everything so far

  // kPrompt or kSpliced; sampled tokens come with their probabilities.
  Status append(TokenOrigin origin, std::span<const TokenId> ids);
  Status append(std::span<const Sampled> tokens);
  // Parameters of the tokens sampled from here on; writes nothing if they already hold.
  Status set_sampling(const LoggedSampling& sampling);
  // Of the token appended last: what else it could have been.
  Status add_alternatives(std::span<const Sampled> top);
  Status set_title(const std::string& title);  // kUsage: longer than kMostTitle
  Status add_call(const std::string& id, Position from, std::int64_t count);
  Status add_mark(MessageRole role, Position at);
  // Back to `length` tokens of a branch (the live one by default), as a new branch. The old one stays readable. No-op
  // for the live branch's own length.
  Status rewind(Position length);
  Status rewind(Position length, BranchId branch);
  // The job's prompt must be in the log; its sampling parameters are set.
  Status begin_job(LoggedJob job, const LoggedSampling& sampling);
  Status end_job(const JobEnd& end);

  // Between the two nothing is written; release() writes all of it in one write(2).
  void hold() { held_ = true; }
  Status release();
  Status sync();  // to the disk, whatever the policy

  // The tokens [from, from + count) of a branch with origins and probabilities, read back from the file.
  Result<std::vector<LoggedToken>> logged(BranchId branch, Position from, std::int64_t count) const;

  // A new log of its own with the first `length` tokens of a branch: ids, origins, probabilities, sampling parameters,
  // marks and calls. Jobs stay behind. `header` gives id and time; identity, model and lineage are filled in.
  Result<SessionLog> fork(const std::string& path, Position length, BranchId branch, SessionHeader header = {},
                          const SyncPolicy& sync = {}) const;

  // A request that continues an unfinished job: prompt, sampling and borders from the log. Tokens past its prompt are
  // the answer so far.
  Result<JobRequest> request_of(const LoggedJob& job) const;

 private:
  SessionLog(SessionHeader header, RecordFile file) : header_(std::move(header)), file_(std::move(file)) {}
  static Result<SessionLog> open(const std::string& path, RecordFile::Access access, const SyncPolicy& sync);
  Status stage(LogRecord type, const std::vector<std::byte>& payload);
  Status written() { return held_ ? Status{} : file_.write(); }
  Status copy_into(SessionLog& to, Position length, BranchId branch) const;

  SessionHeader header_;
  RecordFile file_;
  SessionHistory history_;
  bool held_ = false;
};

}  // namespace hadal
