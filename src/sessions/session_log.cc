#include "sessions/session_log.h"

#include <chrono>
#include <cstring>

namespace hadal {
namespace {

constexpr RecordFileKind kKind{{'H', 'A', 'D', 'A', 'L', 'L', 'O', 'G'}, 1, "session log"};

std::int64_t now_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

// Caller's mistakes are kUsage; the same found in a file is kBadInput.
Status as_usage(Status s) {
  if (s || s.error().code != ErrorCode::kBadInput) return s;
  return fail(ErrorCode::kUsage, "{}", s.error().what);
}

}  // namespace

Result<SessionLog> SessionLog::create(const std::string& path, SessionHeader header, const SyncPolicy& sync) {
  if (header.id.empty()) header.id = new_session_id();
  if (header.created_ms == 0) header.created_ms = now_ms();
  const std::vector<std::byte> content = encode(header);
  if (auto valid = decode_header(content); !valid)
    return fail(ErrorCode::kUsage, "{}: cannot be made: {}", path, valid.error().what);
  RecordFile file = HADAL_TRY(RecordFile::create(path, kKind, content, sync));
  return SessionLog(std::move(header), std::move(file));
}

Result<SessionLog> SessionLog::open(const std::string& path, RecordFile::Access access, const SyncPolicy& sync) {
  SessionHeader header;
  SessionHistory history;
  const auto on_header = [&](Bytes content) -> Status {
    auto decoded = decode_header(content);
    if (!decoded) return fail(decoded.error().code, "{}: {}", path, decoded.error().what);
    header = std::move(*decoded);
    return {};
  };
  const auto on_record = [&](const Record& r) {
    return history.apply(static_cast<LogRecord>(r.type), r.payload, r.offset);
  };
  RecordFile file = HADAL_TRY(RecordFile::open(path, kKind, access, sync, on_header, on_record));
  SessionLog log(std::move(header), std::move(file));
  log.history_ = std::move(history);
  return log;
}

Result<SessionLog> SessionLog::open(const std::string& path, const SyncPolicy& sync) {
  return open(path, RecordFile::Access::kAppend, sync);
}

Result<SessionLog> SessionLog::read(const std::string& path) { return open(path, RecordFile::Access::kRead, {}); }

Result<SessionLog> SessionLog::read_intact(const std::string& path) {
  return open(path, RecordFile::Access::kIntact, {});
}

Result<SessionHeader> SessionLog::read_header(const std::string& path) {
  SessionHeader header;
  HADAL_CHECK_OK(RecordFile::read_header(path, kKind, [&](Bytes content) -> Status {
    auto decoded = decode_header(content);
    if (!decoded) return fail(decoded.error().code, "{}: {}", path, decoded.error().what);
    header = std::move(*decoded);
    return {};
  }));
  return header;
}

Status SessionLog::stage(LogRecord type, const std::vector<std::byte>& payload) {
  if (payload.size() > RecordFile::kMostPayload)
    return fail(ErrorCode::kUsage, "{}: a record of {} bytes is more than {}", path(), payload.size(),
                RecordFile::kMostPayload);
  HADAL_CHECK_OK(as_usage(history_.apply(type, payload, file_.staged_offset())));
  file_.stage(static_cast<std::uint16_t>(type), payload);
  return written();
}

Status SessionLog::append(TokenOrigin origin, std::span<const TokenId> ids) {
  if (origin == TokenOrigin::kSampled)
    return fail(ErrorCode::kUsage, "{}: sampled tokens are appended with their probabilities", path());
  constexpr std::size_t kMost = RecordFile::kMostPayload / sizeof(TokenId);
  // All or nothing, also when several records are needed.
  for (const TokenId id : ids)
    if (to_int(id) < 0) return fail(ErrorCode::kUsage, "{}: {} is not a token id", path(), to_int(id));
  for (std::size_t at = 0; at < ids.size(); at += kMost) {
    const auto part = ids.subspan(at, std::min(kMost, ids.size() - at));
    HADAL_CHECK_OK(history_.add_tokens(origin, part, file_.staged_offset()));
    file_.stage(static_cast<std::uint16_t>(origin), std::as_bytes(part));
  }
  return written();
}

Status SessionLog::append(std::span<const Sampled> tokens) {
  constexpr std::size_t kMost = RecordFile::kMostPayload / kSampledBytes;
  for (const Sampled& t : tokens)
    if (to_int(t.id) < 0) return fail(ErrorCode::kUsage, "{}: {} is not a token id", path(), to_int(t.id));
  for (std::size_t at = 0; at < tokens.size(); at += kMost) {
    const auto part = tokens.subspan(at, std::min(kMost, tokens.size() - at));
    HADAL_CHECK_OK(history_.add_sampled(part, file_.staged_offset()));
    std::byte* to = file_.stage(static_cast<std::uint16_t>(LogRecord::kSampled), part.size() * kSampledBytes);
    for (const Sampled& t : part) {
      put_sampled(to, t);
      to += kSampledBytes;
    }
  }
  return written();
}

Status SessionLog::set_sampling(const LoggedSampling& sampling) {
  const auto& known = history_.samplings();
  if (!known.empty() && same(known.back(), sampling)) return {};
  HADAL_CHECK_OK(check_sampling(sampling.options));
  return stage(LogRecord::kSampling, encode(sampling));
}

Status SessionLog::add_alternatives(std::span<const Sampled> top) {
  return stage(LogRecord::kAlternatives, encode_alternatives(top));
}

Status SessionLog::set_title(const std::string& title) {
  if (title == history_.title()) return {};
  if (title.size() > kMostTitle)
    return fail(ErrorCode::kUsage, "a title has at most {} bytes, not {}", kMostTitle, title.size());
  return stage(LogRecord::kTitle, encode_title(title));
}

Status SessionLog::add_call(const std::string& id, Position from, std::int64_t count) {
  return stage(LogRecord::kCall, encode(LoggedCall{id, 0, from, count}));
}

Status SessionLog::add_mark(MessageRole role, Position at) {
  return stage(LogRecord::kMark, encode(LoggedMark{0, at, role}));
}

Status SessionLog::rewind(Position length) { return rewind(length, history_.live_branch()); }

Status SessionLog::rewind(Position length, BranchId branch) {
  if (branch == history_.live_branch() && length == history_.length()) return {};
  return stage(LogRecord::kBranch, encode_branch(branch, length));
}

Status SessionLog::begin_job(LoggedJob job, const LoggedSampling& sampling) {
  HADAL_CHECK_OK(as_usage(history_.check_job(job)));
  HADAL_CHECK_OK(set_sampling(sampling));
  if (job.begun_ms == 0) job.begun_ms = now_ms();
  return stage(LogRecord::kJobBegin, encode(job));
}

Status SessionLog::end_job(const JobEnd& end) { return stage(LogRecord::kJobEnd, encode(end)); }

Status SessionLog::release() {
  held_ = false;
  return file_.write();
}

Status SessionLog::sync() {
  HADAL_CHECK_OK(release());
  return file_.sync();
}

Result<std::vector<LoggedToken>> SessionLog::logged(BranchId branch, Position from, std::int64_t count) const {
  if (from < 0 || count < 0 || branch >= history_.branch_count() || from > history_.length(branch) ||
      count > history_.length(branch) - from)
    return fail(ErrorCode::kUsage, "{}: there are no {} tokens from {} on in branch {}", path(), count, from, branch);
  if (file_.anything_staged()) return fail(ErrorCode::kUsage, "{}: release() what is held before reading", path());
  const std::vector<TokenRun> runs = HADAL_TRY(history_.runs(branch, from + count));
  std::vector<LoggedToken> out;
  out.reserve(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const TokenRun& run = runs[i];
    const Position end = i + 1 < runs.size() ? runs[i + 1].from : from + count;
    if (end <= from) continue;
    Position at = run.from;
    bool last_is_out = false;  // the token before the next record is the last of `out`
    HADAL_CHECK_OK(file_.read(run.offset, [&](const Record& r) -> Result<bool> {
      if (r.type == static_cast<std::uint16_t>(LogRecord::kAlternatives)) {
        if (last_is_out) out.back().top = HADAL_TRY(decode_alternatives(r.payload));
        return true;
      }
      if (at >= end) return false;
      if (r.type != static_cast<std::uint16_t>(run.origin)) return true;  // a mark between tokens, say
      const bool sampled = run.origin == TokenOrigin::kSampled;
      const std::size_t each = sampled ? kSampledBytes : sizeof(TokenId);
      std::size_t k = 0;
      for (; k + each <= r.payload.size() && at < end; k += each, ++at) {
        if (at < from) continue;
        LoggedToken token{run.origin, {}, run.sampling};
        if (sampled)
          token.sampled = get_sampled(r.payload.data() + k);
        else
          std::memcpy(&token.sampled.id, r.payload.data() + k, sizeof(TokenId));
        out.push_back(std::move(token));
      }
      last_is_out = at > from && k == r.payload.size();
      return true;  // one more: the last token's alternatives may follow
    }));
  }
  if (static_cast<std::int64_t>(out.size()) != count)
    return fail(ErrorCode::kInternal, "{}: {} of {} tokens were found", path(), out.size(), count);
  return out;
}

Result<SessionLog> SessionLog::fork(const std::string& path, Position length, BranchId branch, SessionHeader header,
                                    const SyncPolicy& sync) const {
  if (branch >= history_.branch_count())
    return fail(ErrorCode::kUsage, "{}: there is no branch {}; the session has {}", this->path(), branch,
                history_.branch_count());
  if (length < 0 || length > history_.length(branch))
    return fail(ErrorCode::kUsage, "cannot fork at {} tokens: branch {} has {}", length, branch,
                history_.length(branch));
  header.identity = header_.identity;
  header.model = header_.model;
  header.parent = header_.id;
  header.parent_branch = branch;
  header.parent_length = length;
  SessionLog out = HADAL_TRY(create(path, std::move(header), sync));
  if (Status s = copy_into(out, length, branch); !s) {
    std::remove(path.c_str());  // never a fork with half its past
    return std::unexpected(s.error());
  }
  return out;
}

Result<SessionLog> SessionLog::copy(const std::string& path, const SessionHeader& header,
                                    const SyncPolicy& sync) const {
  // Under another name until it is whole, so that a copy that ends early is never taken for a short session.
  const std::string beside = path + ".copy";
  std::remove(beside.c_str());
  SyncPolicy rare = sync;
  if (rare.mode == SyncPolicy::Mode::kEveryWrite) rare.mode = SyncPolicy::Mode::kInterval;
  SessionLog out = HADAL_TRY(create(beside, header, rare));
  const auto copied = [&]() -> Status {
    if (file_.size() == file_.begin()) return {};
    return file_.read(file_.begin(), [&](const Record& r) -> Result<bool> {
      HADAL_CHECK_OK(out.history_.apply(static_cast<LogRecord>(r.type), r.payload, out.file_.staged_offset()));
      out.file_.stage(r.type, r.payload);
      if (out.file_.staged_offset() - out.file_.size() > (1 << 20)) HADAL_CHECK_OK(out.file_.write());
      return true;
    });
  };
  Status done = copied();
  if (done) done = out.release();
  if (done && sync.mode != SyncPolicy::Mode::kNever) done = out.file_.sync();
  if (done) done = out.file_.rename(path, false);
  if (done) return out;
  std::remove(beside.c_str());
  return std::unexpected(done.error());
}

Status SessionLog::copy_into(SessionLog& to, Position length, BranchId branch) const {
  to.hold();
  constexpr std::int64_t kAtOnce = 32768;  // 20 bytes each in the file, 48 in memory
  for (Position at = 0; at < length;) {
    const std::int64_t n = std::min(kAtOnce, length - at);
    const std::vector<LoggedToken> tokens = HADAL_TRY(logged(branch, at, n));
    for (std::size_t i = 0; i < tokens.size();) {
      std::size_t end = i;
      std::vector<Sampled> sampled;
      std::vector<TokenId> ids;
      for (;
           end < tokens.size() && tokens[end].origin == tokens[i].origin && tokens[end].sampling == tokens[i].sampling;
           ++end) {
        sampled.push_back(tokens[end].sampled);
        ids.push_back(tokens[end].sampled.id);
      }
      if (tokens[i].origin == TokenOrigin::kSampled) {
        if (tokens[i].sampling >= 0)
          HADAL_CHECK_OK(to.set_sampling(history_.samplings()[static_cast<std::size_t>(tokens[i].sampling)]));
        HADAL_CHECK_OK(to.append(sampled));  // their alternatives stay behind with the jobs that asked for them
      } else {
        HADAL_CHECK_OK(to.append(tokens[i].origin, ids));
      }
      i = end;
    }
    at += n;
  }
  for (const LoggedMark& m : history_.marks(branch, length)) HADAL_CHECK_OK(to.add_mark(m.role, m.at));
  for (const LoggedCall& c : history_.calls(branch, length)) HADAL_CHECK_OK(to.add_call(c.id, c.from, c.count));
  if (!history_.title().empty()) HADAL_CHECK_OK(to.set_title(history_.title()));
  return to.sync();
}

Result<JobRequest> SessionLog::request_of(const LoggedJob& job) const {
  JobRequest r;
  r.id = job.id;
  r.session = header_.id;
  r.prompt = HADAL_TRY(history_.ids(job.branch, job.prompt));
  for (const LoggedMark& m : history_.marks(job.branch, job.prompt))
    if (m.at > 0 && (r.borders.empty() || m.at > r.borders.back())) r.borders.push_back(m.at);
  if (job.sampling >= 0) {
    const LoggedSampling& s = history_.samplings()[static_cast<std::size_t>(job.sampling)];
    r.sampling = s.options;
    r.stream = s.stream;
  }
  r.max_tokens = job.max_tokens;
  r.top_logprobs = job.top_logprobs;
  r.stop = job.stop;
  r.thinking_budget = job.thinking_budget;
  r.after_thinking = job.after_thinking;
  r.client = job.client;
  r.priority = job.priority;
  r.detached = job.detached;
  return r;
}

}  // namespace hadal
