// A session kept in plain lists, and random operations on it and a log alike.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "sessions/session_log.h"

namespace hadal::test {

struct PlainSession {
  struct Branch {
    std::vector<LoggedToken> tokens;
  };
  std::vector<Branch> branches = std::vector<Branch>(1);
  BranchId live = 0;
  std::vector<LoggedMark> marks;
  std::vector<LoggedCall> calls;
  std::int32_t samplings = 0;
  int jobs = 0, open_job = -1;

  std::vector<LoggedToken>& tokens() { return branches[live].tokens; }
};

inline SessionHeader plain_header(const std::string& id = "test") {
  SessionHeader h;
  h.identity = {0x1122334455667788, 0x99aabbccddeeff00, SessionIdentity::kFast, ChatGeneration::k0731};
  h.id = id;
  h.created_ms = 1700000000000;
  h.model = "nano";
  return h;
}

inline SyncPolicy never() {
  SyncPolicy p;
  p.mode = SyncPolicy::Mode::kNever;
  return p;
}

// One random operation on both; everything the log refuses is a failure.
inline void random_step(std::mt19937& random, PlainSession& plain, SessionLog& log) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random()) % n; };
  auto& tokens = plain.tokens();
  const auto length = static_cast<Position>(tokens.size());
  switch (below(10)) {
    case 0:
    case 1: {
      const TokenOrigin origin = below(3) ? TokenOrigin::kPrompt : TokenOrigin::kSpliced;
      std::vector<TokenId> ids(below(40));
      for (TokenId& id : ids) {
        id = TokenId{static_cast<std::int32_t>(below(1000))};
        tokens.push_back({origin, {.id = id}, -1});
      }
      ASSERT_TRUE(log.append(origin, ids));
      break;
    }
    case 2:
    case 3:
    case 4: {
      std::vector<Sampled> sampled(1 + below(3));
      for (Sampled& s : sampled) {
        s = {TokenId{static_cast<std::int32_t>(below(1000))}, -0.5 * static_cast<double>(below(9)), -0.25, 0};
        tokens.push_back({TokenOrigin::kSampled, s, plain.samplings - 1});
      }
      ASSERT_TRUE(log.append(sampled));
      break;
    }
    case 5: {
      LoggedSampling s;
      s.options.temperature = 0.5;
      s.options.seed = random();
      s.options.stop_ids = {TokenId{1}};
      ASSERT_TRUE(log.set_sampling(s));
      ASSERT_TRUE(log.set_sampling(s));  // holds already
      ++plain.samplings;
      break;
    }
    case 6: {
      const auto from = static_cast<Position>(below(tokens.size() + 1));
      const auto count = static_cast<std::int64_t>(below(static_cast<std::size_t>(length - from) + 1));
      plain.calls.push_back({"call_" + std::to_string(random()), plain.live, from, count});
      ASSERT_TRUE(log.add_call(plain.calls.back().id, from, count));
      break;
    }
    case 7: {
      const auto at = static_cast<Position>(below(tokens.size() + 1));
      plain.marks.push_back({plain.live, at, static_cast<MessageRole>(1 + below(5))});
      ASSERT_TRUE(log.add_mark(plain.marks.back().role, at));
      break;
    }
    case 8: {
      const auto branch = static_cast<BranchId>(below(plain.branches.size()));
      const auto& from = plain.branches[branch].tokens;
      const std::size_t at = below(from.size() + 1);
      ASSERT_TRUE(log.rewind(static_cast<Position>(at), branch));
      if (branch == plain.live && at == from.size()) break;
      plain.branches.push_back({{from.begin(), from.begin() + static_cast<std::ptrdiff_t>(at)}});
      plain.live = static_cast<BranchId>(plain.branches.size() - 1);
      break;
    }
    case 9:
      if (plain.open_job < 0) {
        LoggedJob job;
        job.id = "job_" + std::to_string(plain.jobs);
        job.prompt = length;
        job.stop = {"end", ""};
        job.max_tokens = 17;
        LoggedSampling s;
        s.options.seed = random();
        ASSERT_TRUE(log.begin_job(job, s));
        ++plain.samplings;
        plain.open_job = plain.jobs++;
      } else {
        JobEnd end;
        end.id = "job_" + std::to_string(plain.open_job);
        end.finish = JobFinish::kStopString;
        end.stop_index = 1;
        ASSERT_TRUE(log.end_job(end));
        plain.open_job = -1;
      }
      break;
  }
}

inline void expect_same(PlainSession& plain, const SessionLog& log) {
  const SessionHistory& h = log.history();
  ASSERT_EQ(h.branch_count(), plain.branches.size());
  EXPECT_EQ(h.live_branch(), plain.live);
  EXPECT_EQ(h.samplings().size(), static_cast<std::size_t>(plain.samplings));
  EXPECT_EQ(h.jobs().size(), static_cast<std::size_t>(plain.jobs));
  for (BranchId b = 0; b < plain.branches.size(); ++b) {
    const auto& tokens = plain.branches[b].tokens;
    const auto logged = log.logged(b, 0, h.length(b));
    ASSERT_TRUE(logged) << logged.error().what;
    ASSERT_EQ(logged->size(), tokens.size()) << "branch " << b;
    const auto ids = h.ids(b);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      ASSERT_EQ((*ids)[i], tokens[i].sampled.id) << "branch " << b << " token " << i;
      ASSERT_EQ((*logged)[i].sampled.id, tokens[i].sampled.id);
      ASSERT_EQ((*logged)[i].origin, tokens[i].origin);
      ASSERT_EQ((*logged)[i].sampled.logprob, tokens[i].sampled.logprob);
      ASSERT_EQ((*logged)[i].sampling, tokens[i].sampling);
    }
  }
  ASSERT_EQ(log.tokens().size(), plain.tokens().size());
  for (std::size_t i = 0; i < plain.tokens().size(); ++i) ASSERT_EQ(log.tokens()[i], plain.tokens()[i].sampled.id);
}

}  // namespace hadal::test
