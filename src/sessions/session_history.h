// What a session log's records add up to: a tree of branches, each a run of tokens that continues its parent from some
// position, and what is known about stretches of them. No file here; session_log.h keeps one and this in step.
//
// Ids take 4 bytes each, those of the live branch 8; a run of records of one origin takes 32 bytes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sessions/log_records.h"

namespace hadal {

struct BranchInfo {
  BranchId id = 0;
  BranchId parent = 0;  // 0 for branch 0 itself
  Position from = 0;    // tokens shared with the parent
  Position length = 0;  // tokens in all
};

// Consecutive token records of one origin in one branch.
struct TokenRun {
  Position from = 0;
  std::int64_t offset = 0;     // of the first record in the file
  std::int32_t sampling = -1;  // index of the parameters that held; -1: none
  TokenOrigin origin = TokenOrigin::kPrompt;
};

struct BranchDiff {
  Position common = 0;  // tokens both branches begin with
  Position length_a = 0, length_b = 0;
  Position context_from = 0;  // where the ids below begin
  std::vector<TokenId> a, b;  // some before the difference, some after it
};

class SessionHistory {
 public:
  // What keeps a file made to be expensive from being so.
  static constexpr std::size_t kMostBranches = 16384;

  // Applies one record. kBadInput, and then nothing changed.
  Status apply(LogRecord type, Bytes payload, std::int64_t offset);

  // The same, typed; `offset` is the record's.
  Status add_tokens(TokenOrigin origin, std::span<const TokenId> ids, std::int64_t offset);
  Status add_sampled(std::span<const Sampled> tokens, std::int64_t offset);
  Status check_call(const LoggedCall& call) const;
  Status check_mark(const LoggedMark& mark) const;
  Status check_branch(BranchId parent, Position at) const;
  Status check_job(const LoggedJob& job) const;

  std::span<const TokenId> tokens() const;  // of the live branch; valid until the next change
  Position length() const { return length(live_branch_); }
  BranchId live_branch() const { return live_branch_; }
  std::size_t branch_count() const { return branches_.size(); }
  std::vector<BranchInfo> branches() const;

  Position length(BranchId branch) const;
  // The first `length` ids of a branch (-1: all). kUsage: no such branch or not so long.
  Result<std::vector<TokenId>> ids(BranchId branch, Position length = -1) const;
  // The ids [from, to) of a branch.
  Result<std::vector<TokenId>> ids_between(BranchId branch, Position from, Position to) const;
  // Runs that make up the first `length` tokens, in order of position. The run after each, or `length`, ends it.
  Result<std::vector<TokenRun>> runs(BranchId branch, Position length) const;
  Result<BranchDiff> diff(BranchId a, BranchId b, std::int64_t around = 8) const;

  const std::string& title() const { return title_; }  // empty: none was given

  const std::vector<LoggedSampling>& samplings() const { return samplings_; }
  std::int32_t sampling() const { return static_cast<std::int32_t>(samplings_.size()) - 1; }  // in force; -1: none
  // Those that lie within the first tokens of a branch, by position (-1: all of the branch).
  std::vector<LoggedMark> marks(BranchId branch, Position length = -1) const;
  std::vector<LoggedCall> calls(BranchId branch, Position length = -1) const;
  const std::vector<LoggedJob>& jobs() const { return jobs_; }  // in the order they began
  const LoggedJob* find_job(const std::string& id) const;       // the latest of that id; null: none
  // Jobs of the live branch that began and did not end: what a crash interrupted.
  std::vector<LoggedJob> unfinished() const;

 private:
  struct Branch {
    BranchId parent = 0;
    Position from = 0;
    std::vector<TokenId> own;  // tokens from `from` on
    std::vector<TokenRun> runs;
  };
  struct Segment {
    BranchId branch;
    Position from, to;
  };
  // From the first branch to `branch`, covering [0, length).
  std::vector<Segment> path(BranchId branch, Position length) const;
  bool on_path(const std::vector<Segment>& path, BranchId branch, Position end) const;
  void start_run(TokenOrigin origin, std::int64_t offset);
  void begin_branch(BranchId parent, Position at);

  std::vector<Branch> branches_ = std::vector<Branch>(1);
  BranchId live_branch_ = 0;
  mutable std::vector<TokenId> live_;  // the live branch's ids, all of them; made when first asked for
  mutable bool live_made_ = false;
  bool run_open_ = false;  // the last token run may be continued
  std::vector<LoggedSampling> samplings_;
  std::vector<LoggedMark> marks_;
  std::vector<LoggedCall> calls_;
  std::vector<LoggedJob> jobs_;
  std::string title_;
  std::unordered_map<std::string, std::size_t> latest_job_;  // by id
};

}  // namespace hadal
