#include "sessions/replay.h"

#include <gtest/gtest.h>

#include "sessions/generate.h"
#include "sessions/log_model.h"
#include "sessions/session_identity.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

class ReplayTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto checkpoint = Checkpoint::open(HADAL_SOURCE_DIR "/nano/weights");
    EngineOptions options;
    options.model.threads = 1;
    engine_ = new Engine(*Engine::open(*checkpoint, options));
  }
  static void TearDownTestSuite() {
    delete engine_;
    engine_ = nullptr;
  }
  // A conversation of two answers, the first greedy, the second drawn, as a scheduler would log it. `spoil` may change
  // what is logged.
  SessionLog converse(const std::function<void(Position, Sampled&)>& spoil = {}) const {
    SessionHeader header;
    header.identity = *session_identity(*engine_, Numerics{});
    auto log = SessionLog::create(folder_.file("log" + std::to_string(count_++)), header, test::never());
    auto timeline = engine_->new_timeline();
    const char* const texts[] = {"<｜begin▁of▁sentence｜><｜User｜>Repeat: zebra 512<｜Assistant｜></think>",
                                 "<｜User｜>Hello there<｜Assistant｜></think>"};
    for (int turn = 0; turn < 2; ++turn) {
      const auto prompt = engine_->tokenizer->encode(texts[turn]);
      EXPECT_TRUE(log->append(TokenOrigin::kPrompt, prompt));
      GenerateOptions options;
      options.sampling = engine_->default_sampling();
      options.sampling.temperature = turn == 0 ? 0.0 : 1.5;
      options.sampling.seed = 1234;
      options.stream = 2;
      options.max_tokens = 40;
      EXPECT_TRUE(log->set_sampling({options.sampling, options.stream}));
      GenerateHooks hooks;
      hooks.on_token = [&](const Sampled& token) {
        Sampled logged = token;
        if (spoil) spoil(log->length(), logged);
        return log->append({&logged, 1}).has_value();
      };
      EXPECT_TRUE(generate(**timeline, prompt, options, hooks));
    }
    return std::move(*log);
  }
  static Engine* engine_;
  test::TemporaryFolder folder_;
  mutable int count_ = 0;
};
Engine* ReplayTest::engine_ = nullptr;

TEST_F(ReplayTest, EverySampledTokenComesOutTheSame) {
  const SessionLog log = converse();
  const auto report = replay(log, 0, *engine_);
  ASSERT_TRUE(report) << report.error().what;
  EXPECT_FALSE(report->first_difference);
  EXPECT_EQ(report->tokens, log.length());
  EXPECT_GT(report->greedy, 2);
  EXPECT_GT(report->drawn, 5);
  EXPECT_EQ(report->unexplained, 0);
  // A fork carries seeds and probabilities along.
  const auto fork = log.fork(folder_.file("fork"), log.length(), 0, {}, test::never());
  ASSERT_TRUE(fork);
  const auto again = replay(*fork, 0, *engine_);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->first_difference);
  EXPECT_EQ(again->drawn, report->drawn);
}

TEST_F(ReplayTest, NamesTheFirstDifference) {
  const Position at = converse().length() - 2;
  const SessionLog wrong = converse([&](Position p, Sampled& s) {
    if (p == at) s.id = TokenId{to_int(s.id) == 5 ? 6 : 5};
  });
  auto report = replay(wrong, 0, *engine_);
  ASSERT_TRUE(report);
  ASSERT_TRUE(report->first_difference);
  EXPECT_EQ(report->first_difference->position, at);
  EXPECT_EQ(report->first_difference->logged, wrong.tokens()[static_cast<std::size_t>(at)]);
  EXPECT_NE(report->first_difference->drawn, report->first_difference->logged);

  const SessionLog improbable = converse([&](Position p, Sampled& s) {
    if (p == at) s.raw_logprob = std::nextafter(s.raw_logprob, 0);
  });
  report = replay(improbable, 0, *engine_);
  ASSERT_TRUE(report->first_difference);
  EXPECT_EQ(report->first_difference->position, at);
  EXPECT_EQ(report->first_difference->drawn, report->first_difference->logged);
}

TEST_F(ReplayTest, CanBeCancelled) {
  const SessionLog log = converse();
  EXPECT_EQ(replay(log, 0, *engine_, [](Position, Position) { return false; }).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(replay(log, 1, *engine_).error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace hadal
