#include "sessions/job_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/log.h"

namespace hadal {

Result<std::unique_ptr<JobLogs>> JobLogs::open(const std::string& data, const SessionStoreOptions& options) {
  auto store = HADAL_TRY(SessionStore::open(data, options));
  std::string running = data + "/running";
  if (mkdir(running.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(ErrorCode::kIo, "cannot make the folder {}: {}", running, std::strerror(errno));
  return std::unique_ptr<JobLogs>(new JobLogs(std::move(running), std::move(store)));
}

Result<JobLog> JobLogs::begin(const JobRequest& request, bool interrupted) {
  SessionLog log = HADAL_TRY([&]() -> Result<SessionLog> {
    // Whoever renames, appends or rewinds has it for a moment only.
    constexpr int kTries = 50;
    for (int i = 0;; ++i) {
      auto open = store_->open_session(request.session);
      if (open || i == kTries || (open.error().code != ErrorCode::kBusy && interrupted)) return open;
      if (open.error().code == ErrorCode::kNotFound) break;
      if (open.error().code != ErrorCode::kBusy) return open;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return store_->create(request.session);
  }());
  if (interrupted) return JobLog(*this, std::move(log));

  const std::span<const TokenId> have = log.tokens();
  const auto common = std::mismatch(have.begin(), have.end(), request.prompt.begin(), request.prompt.end()).first;
  const auto at = static_cast<Position>(common - have.begin());
  HADAL_CHECK_OK(log.rewind(at));
  log.hold();
  HADAL_CHECK_OK(log.append(TokenOrigin::kPrompt, std::span(request.prompt).subspan(static_cast<std::size_t>(at))));
  for (const Position border : request.borders)
    if (border > at) HADAL_CHECK_OK(log.add_mark(MessageRole::kOther, border));
  HADAL_CHECK_OK(log.begin_job(LoggedJob::of(request, log.length()), LoggedSampling{request.sampling, request.stream}));
  // The marker first: a log with an unfinished job and no marker would be forgotten.
  const int file = ::open(marker(request.session).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0) return fail(ErrorCode::kIo, "cannot make {}: {}", marker(request.session), std::strerror(errno));
  ::close(file);
  HADAL_CHECK_OK(log.release());
  store_->update(log);
  return JobLog(*this, std::move(log));
}

namespace {

Result<std::vector<JobToken>> tokens_of(const SessionLog& log, const LoggedJob& job, Position end) {
  std::vector<JobToken> out;
  for (LoggedToken& token : HADAL_TRY(log.logged(job.branch, job.prompt, end - job.prompt))) {
    JobToken t;
    t.index = std::ssize(out);
    t.sampled = token.sampled;
    t.spliced = token.origin == TokenOrigin::kSpliced;
    t.top = std::move(token.top);
    out.push_back(std::move(t));
  }
  return out;
}

}  // namespace

std::optional<EndedJob> JobLogs::ended(const std::string& id) const {
  const auto session = store_->session_of_job(id);
  if (!session) return std::nullopt;
  const auto read = [&]() -> Result<std::optional<EndedJob>> {
    const SessionLog log = HADAL_TRY(store_->read(*session));
    const LoggedJob* job = log.history().find_job(id);
    if (!job || !job->finish) return std::nullopt;
    EndedJob out;
    out.request = HADAL_TRY(log.request_of(*job));
    out.tokens = HADAL_TRY(tokens_of(log, *job, job->end));
    out.end = {id, *job->finish, job->stop_index, job->usage, job->error};
    return out;
  };
  auto found = read();
  if (!found) log_at(LogLevel::kWarn, "an ended answer is not given again: {}", found.error().what);
  return found ? std::move(*found) : std::nullopt;
}

std::vector<InterruptedJob> JobLogs::interrupted(std::vector<Error>& problems) const {
  std::vector<InterruptedJob> out;
  std::error_code error;
  const auto read = [&](const std::string& session) -> Status {
    const SessionLog log = HADAL_TRY(store_->read(session));
    for (const LoggedJob& job : log.history().unfinished()) {
      InterruptedJob i;
      i.request = HADAL_TRY(log.request_of(job));
      i.tokens = HADAL_TRY(tokens_of(log, job, log.history().length(job.branch)));
      out.push_back(std::move(i));
    }
    return {};
  };
  for (const auto& entry : std::filesystem::directory_iterator(running_, error))
    if (const Status done = read(entry.path().filename().string()); !done) problems.push_back(done.error());
  return out;
}

Status JobLog::token(const JobToken& token) {
  log_.hold();
  if (token.spliced)
    HADAL_CHECK_OK(log_.append(TokenOrigin::kSpliced, {&token.sampled.id, 1}));
  else
    HADAL_CHECK_OK(log_.append({&token.sampled, 1}));
  if (!token.top.empty()) HADAL_CHECK_OK(log_.add_alternatives(token.top));
  return log_.release();
}

Status JobLog::end(const JobEnd& end) {
  HADAL_CHECK_OK(log_.end_job(end));
  owner_->store_->update(log_);
  unlink(owner_->marker(log_.id()).c_str());
  return {};
}

}  // namespace hadal
