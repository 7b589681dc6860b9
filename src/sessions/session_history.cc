#include "sessions/session_history.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace hadal {

Position SessionHistory::length(BranchId branch) const {
  const Branch& b = branches_[branch];
  return b.from + static_cast<Position>(b.own.size());
}

std::vector<BranchInfo> SessionHistory::branches() const {
  std::vector<BranchInfo> out;
  out.reserve(branches_.size());
  for (BranchId i = 0; i < branches_.size(); ++i) out.push_back({i, branches_[i].parent, branches_[i].from, length(i)});
  return out;
}

std::vector<SessionHistory::Segment> SessionHistory::path(BranchId branch, Position length) const {
  std::vector<Segment> out;
  for (Position to = length;;) {
    const Branch& b = branches_[branch];
    if (to > b.from || branch == 0) out.push_back({branch, b.from, to});
    if (branch == 0) break;
    to = std::min(to, b.from);
    branch = b.parent;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::span<const TokenId> SessionHistory::tokens() const {
  if (!live_made_) {
    live_ = *ids(live_branch_);
    live_made_ = true;
  }
  return live_;
}

Result<std::vector<TokenId>> SessionHistory::ids(BranchId branch, Position length) const {
  if (branch >= branches_.size())
    return fail(ErrorCode::kUsage, "there is no branch {}; the session has {}", branch, branches_.size());
  if (length < 0) length = this->length(branch);
  if (length > this->length(branch))
    return fail(ErrorCode::kUsage, "branch {} has {} tokens, not {}", branch, this->length(branch), length);
  std::vector<TokenId> out;
  out.reserve(static_cast<std::size_t>(length));
  for (const Segment& s : path(branch, length)) {
    const Branch& b = branches_[s.branch];
    out.insert(out.end(), b.own.begin(), b.own.begin() + (s.to - s.from));
  }
  return out;
}

Result<std::vector<TokenId>> SessionHistory::ids_between(BranchId branch, Position from, Position to) const {
  if (branch >= branches_.size() || from < 0 || from > to || to > length(branch))
    return fail(ErrorCode::kUsage, "branch {} has no tokens {} to {}", branch, from, to);
  std::vector<TokenId> out;
  out.reserve(static_cast<std::size_t>(to - from));
  for (const Segment& s : path(branch, to)) {
    if (s.to <= from) continue;
    const auto& own = branches_[s.branch].own;
    const Position begin = std::max(from, s.from);
    out.insert(out.end(), own.begin() + (begin - s.from), own.begin() + (s.to - s.from));
  }
  return out;
}

Result<std::vector<TokenRun>> SessionHistory::runs(BranchId branch, Position length) const {
  if (branch >= branches_.size() || length < 0 || length > this->length(branch))
    return fail(ErrorCode::kUsage, "there are no {} tokens in branch {}", length, branch);
  std::vector<TokenRun> out;
  for (const Segment& s : path(branch, length))
    for (const TokenRun& run : branches_[s.branch].runs)
      if (run.from < s.to) out.push_back(run);
  return out;
}

Result<BranchDiff> SessionHistory::diff(BranchId a, BranchId b, std::int64_t around) const {
  const std::vector<TokenId> x = HADAL_TRY(ids(a)), y = HADAL_TRY(ids(b));
  BranchDiff d;
  const auto [at, other] = std::mismatch(x.begin(), x.end(), y.begin(), y.end());
  d.common = at - x.begin();
  d.length_a = static_cast<Position>(x.size());
  d.length_b = static_cast<Position>(y.size());
  d.context_from = std::max<Position>(0, d.common - around);
  d.a.assign(x.begin() + d.context_from, x.begin() + std::min(d.length_a, d.common + around));
  d.b.assign(y.begin() + d.context_from, y.begin() + std::min(d.length_b, d.common + around));
  return d;
}

// Whether the first `end` tokens of `branch` are on the path: what is said about them then holds there too.
bool SessionHistory::on_path(const std::vector<Segment>& path, BranchId branch, Position end) const {
  // A parent is older than its children, so a path's branches ascend.
  const auto s =
      std::lower_bound(path.begin(), path.end(), branch, [](const Segment& p, BranchId id) { return p.branch < id; });
  return s != path.end() && s->branch == branch ? end <= s->to : end <= 0;
}

std::vector<LoggedMark> SessionHistory::marks(BranchId branch, Position length) const {
  const auto way = path(branch, length < 0 ? this->length(branch) : length);
  std::vector<LoggedMark> out;
  for (const LoggedMark& m : marks_)
    if (on_path(way, m.branch, m.at)) out.push_back(m);
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return std::tie(a.at, a.branch, a.role) < std::tie(b.at, b.branch, b.role);
  });
  return out;
}

std::vector<LoggedCall> SessionHistory::calls(BranchId branch, Position length) const {
  const auto way = path(branch, length < 0 ? this->length(branch) : length);
  std::vector<LoggedCall> out;
  for (const LoggedCall& c : calls_)
    if (on_path(way, c.branch, c.from + c.count)) out.push_back(c);
  return out;
}

const LoggedJob* SessionHistory::find_job(const std::string& id) const {
  const auto j = latest_job_.find(id);
  return j == latest_job_.end() ? nullptr : &jobs_[j->second];
}

std::vector<LoggedJob> SessionHistory::unfinished() const {
  std::vector<LoggedJob> out;
  for (const LoggedJob& j : jobs_)
    if (!j.finish && j.branch == live_branch_) out.push_back(j);
  return out;
}

void SessionHistory::start_run(TokenOrigin origin, std::int64_t offset) {
  Branch& b = branches_[live_branch_];
  const std::int32_t in_force = origin == TokenOrigin::kSampled ? sampling() : -1;
  // Reading back starts at the beginning of a run, so runs are kept short.
  constexpr std::int64_t kMost = 8192;
  const auto continues = [&](const TokenRun& r) {
    return r.origin == origin && r.sampling == in_force && length() - r.from < kMost;
  };
  if (run_open_ && !b.runs.empty() && continues(b.runs.back())) return;
  b.runs.push_back({length(), offset, in_force, origin});
  run_open_ = true;
}

Status SessionHistory::add_tokens(TokenOrigin origin, std::span<const TokenId> ids, std::int64_t offset) {
  if (ids.empty()) return fail(ErrorCode::kBadInput, "holds no token");
  for (const TokenId id : ids)
    if (to_int(id) < 0) return fail(ErrorCode::kBadInput, "holds the token {}; ids are not negative", to_int(id));
  start_run(origin, offset);
  Branch& b = branches_[live_branch_];
  b.own.insert(b.own.end(), ids.begin(), ids.end());
  if (live_made_) live_.insert(live_.end(), ids.begin(), ids.end());
  return {};
}

Status SessionHistory::add_sampled(std::span<const Sampled> tokens, std::int64_t offset) {
  if (tokens.empty()) return fail(ErrorCode::kBadInput, "holds no token");
  for (const Sampled& t : tokens)
    if (to_int(t.id) < 0) return fail(ErrorCode::kBadInput, "holds the token {}; ids are not negative", to_int(t.id));
  start_run(TokenOrigin::kSampled, offset);
  Branch& b = branches_[live_branch_];
  for (const Sampled& t : tokens) {
    b.own.push_back(t.id);
    if (live_made_) live_.push_back(t.id);
  }
  return {};
}

Status SessionHistory::check_call(const LoggedCall& c) const {
  if (c.from < 0 || c.count < 0 || c.from > length() || c.count > length() - c.from)
    return fail(ErrorCode::kBadInput, "a tool call names {} tokens from {} on, of {}", c.count, c.from, length());
  return {};
}

Status SessionHistory::check_mark(const LoggedMark& m) const {
  if (m.at < 0 || m.at > length())
    return fail(ErrorCode::kBadInput, "a message ends at {}, the branch at {}", m.at, length());
  return {};
}

Status SessionHistory::check_branch(BranchId parent, Position at) const {
  if (parent >= branches_.size())
    return fail(ErrorCode::kBadInput, "there is no branch {}; the session has {}", parent, branches_.size());
  if (at < 0 || at > length(parent))
    return fail(ErrorCode::kBadInput, "cannot go back to {} tokens: branch {} has {}", at, parent, length(parent));
  if (branches_.size() >= kMostBranches)
    return fail(ErrorCode::kBadInput, "a session has at most {} branches; fork it to go on", kMostBranches);
  return {};
}

Status SessionHistory::check_job(const LoggedJob& j) const {
  if (j.id.empty()) return fail(ErrorCode::kBadInput, "a job has no id");
  if (j.prompt < 0 || j.prompt > length())
    return fail(ErrorCode::kBadInput, "a job's prompt has {} tokens, the branch {}", j.prompt, length());
  return {};
}

void SessionHistory::begin_branch(BranchId parent, Position at) {
  // The parent is the branch that holds token at - 1 itself, so that chains of parents stay short.
  while (parent != 0 && at <= branches_[parent].from) parent = branches_[parent].parent;
  live_branch_ = static_cast<BranchId>(branches_.size());
  Branch& b = branches_.emplace_back();
  b.parent = parent;
  b.from = at;
  live_made_ = false;
  run_open_ = false;
}

Status SessionHistory::apply(LogRecord type, Bytes payload, std::int64_t offset) {
  switch (type) {
    case LogRecord::kPrompt:
    case LogRecord::kSpliced: {
      if (payload.size() % 4 != 0) return fail(ErrorCode::kBadInput, "ids take {} bytes", payload.size());
      std::vector<TokenId> ids(payload.size() / 4);
      if (!ids.empty()) std::memcpy(ids.data(), payload.data(), payload.size());
      return add_tokens(type == LogRecord::kPrompt ? TokenOrigin::kPrompt : TokenOrigin::kSpliced, ids, offset);
    }
    case LogRecord::kSampled: {
      if (payload.size() % kSampledBytes != 0)
        return fail(ErrorCode::kBadInput, "sampled tokens take {} bytes", payload.size());
      std::vector<Sampled> tokens(payload.size() / kSampledBytes);
      for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = get_sampled(payload.data() + i * kSampledBytes);
      return add_sampled(tokens, offset);
    }
    case LogRecord::kSampling:
      samplings_.push_back(HADAL_TRY(decode_sampling(payload)));
      return {};
    case LogRecord::kCall: {
      LoggedCall call = HADAL_TRY(decode_call(payload));
      HADAL_CHECK_OK(check_call(call));
      call.branch = live_branch_;
      calls_.push_back(std::move(call));
      return {};
    }
    case LogRecord::kMark: {
      LoggedMark mark = HADAL_TRY(decode_mark(payload));
      HADAL_CHECK_OK(check_mark(mark));
      mark.branch = live_branch_;
      marks_.push_back(mark);
      return {};
    }
    case LogRecord::kBranch: {
      const auto [parent, at] = HADAL_TRY(decode_branch(payload));
      HADAL_CHECK_OK(check_branch(parent, at));
      begin_branch(parent, at);
      return {};
    }
    case LogRecord::kJobBegin: {
      LoggedJob job = HADAL_TRY(decode_job(payload));
      HADAL_CHECK_OK(check_job(job));
      job.branch = live_branch_;
      job.sampling = sampling();
      latest_job_[job.id] = jobs_.size();
      jobs_.push_back(std::move(job));
      return {};
    }
    case LogRecord::kJobEnd: {
      JobEnd end = HADAL_TRY(decode_job_end(payload));
      const auto found = latest_job_.find(end.id);
      LoggedJob* j = found == latest_job_.end() ? nullptr : &jobs_[found->second];
      if (!j || j->finish) return fail(ErrorCode::kBadInput, "a job ends that did not begin");
      j->finish = end.finish;
      j->stop_index = end.stop_index;
      j->end = length(j->branch);
      j->usage = end.usage;
      j->error = std::move(end.error);
      return {};
    }
    case LogRecord::kTitle:
      title_ = HADAL_TRY(decode_title(payload));
      return {};
    case LogRecord::kAlternatives:
      HADAL_CHECK_OK(decode_alternatives(payload));
      if (length() == 0 || !run_open_) return fail(ErrorCode::kBadInput, "alternatives without a token");
      return {};
  }
  return fail(ErrorCode::kUnsupported, "is of type {}, which this version of the format does not have",
              static_cast<int>(type));
}

}  // namespace hadal
