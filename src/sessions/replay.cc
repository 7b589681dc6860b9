#include "sessions/replay.h"

#include <algorithm>

#include "sessions/generate.h"

namespace hadal {
namespace {

// Logits behind every token of a piece. Engines give them for many tokens in one step; the reference one by one.
Status feed_all(Timeline& timeline, bool reference, std::span<const TokenId> ids, std::vector<float>& logits) {
  const auto vocab = static_cast<std::size_t>(timeline.config().vocab_size);
  logits.resize(ids.size() * vocab);
  if (!reference) {
    FeedOutputs outputs;
    outputs.all_logits = logits.data();
    return static_cast<SequenceTimeline&>(timeline).sequence().feed(ids, outputs);
  }
  for (std::size_t i = 0; i < ids.size(); ++i)
    HADAL_CHECK_OK(timeline.feed(ids.subspan(i, 1), logits.data() + i * vocab));
  return {};
}

class Replay {
 public:
  Replay(const SessionLog& log, const Engine& engine) : log_(log), reference_(engine.reference != nullptr) {}

  Status compare(const LoggedToken& token, Position at, std::span<const float> logits) {
    if (token.sampling < 0) {
      ++report_.unexplained;
      return {};
    }
    const LoggedSampling& s = log_.history().samplings()[static_cast<std::size_t>(token.sampling)];
    const Draw draw{s.options.seed, static_cast<std::uint64_t>(at), s.stream};
    const Sampled again = HADAL_TRY(sampler_.sample(logits, s.options, draw));
    ++(s.options.temperature == 0 ? report_.greedy : report_.drawn);
    if (again.id != token.sampled.id || again.raw_logprob != token.sampled.raw_logprob)
      report_.first_difference =
          ReplayDifference{at, token.sampled.id, again.id, token.sampled.raw_logprob, again.raw_logprob};
    return {};
  }

  Status run(BranchId branch, Timeline& timeline, const std::function<bool(Position, Position)>& progress) {
    const Position total = log_.history().length(branch);
    const std::int64_t vocab = timeline.config().vocab_size;
    // 64 MiB of logits at most, and no more tokens than a step is good for.
    const std::int64_t piece = std::clamp<std::int64_t>((std::int64_t{16} << 20) / vocab, 1, timeline.preferred_step());
    std::vector<float> logits, last;
    while (report_.tokens < total && !report_.first_difference) {
      if (progress && !progress(report_.tokens, total))
        return fail(ErrorCode::kCancelled, "stopped after {} of {} tokens", report_.tokens, total);
      const Position from = report_.tokens;
      const auto tokens = HADAL_TRY(log_.logged(branch, from, std::min<std::int64_t>(piece, total - from)));
      std::vector<TokenId> ids;
      for (const LoggedToken& t : tokens) ids.push_back(t.sampled.id);
      HADAL_CHECK_OK(feed_all(timeline, reference_, ids, logits));
      for (std::size_t i = 0; i < tokens.size() && !report_.first_difference; ++i) {
        if (tokens[i].origin != TokenOrigin::kSampled) continue;
        if (i == 0 && last.empty()) {
          ++report_.unexplained;  // a first token has no logits before it
          continue;
        }
        const auto behind = i == 0 ? std::span<const float>(last)
                                   : std::span<const float>(logits).subspan((i - 1) * static_cast<std::size_t>(vocab),
                                                                            static_cast<std::size_t>(vocab));
        HADAL_CHECK_OK(compare(tokens[i], from + static_cast<Position>(i), behind));
      }
      last.assign(logits.end() - vocab, logits.end());
      report_.tokens += static_cast<Position>(tokens.size());
    }
    if (progress) progress(total, total);
    return {};
  }
  const ReplayReport& report() const { return report_; }

 private:
  const SessionLog& log_;
  bool reference_;
  Sampler sampler_;
  ReplayReport report_;
};

}  // namespace

Result<ReplayReport> replay(const SessionLog& log, BranchId branch, const Engine& engine,
                            const std::function<bool(Position, Position)>& progress) {
  if (branch >= log.history().branch_count())
    return fail(ErrorCode::kUsage, "there is no branch {}; the session has {}", branch, log.history().branch_count());
  const std::unique_ptr<Timeline> timeline = HADAL_TRY(engine.new_timeline());
  Replay r(log, engine);
  HADAL_CHECK_OK(r.run(branch, *timeline, progress));
  return r.report();
}

}  // namespace hadal
