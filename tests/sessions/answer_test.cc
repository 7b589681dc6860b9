// Budgets, tokens that are put in, stop strings and limits, token by token.
#include "sessions/answer.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

const Tokenizer& tokenizer() {
  static const auto t = Tokenizer::load(HADAL_SOURCE_DIR "/nano/weights/tokenizer.json");
  return **t;
}
TokenId marker(std::string_view text) { return *tokenizer().find_added(text); }

JobRequest request(std::string_view prompt) {
  JobRequest r;
  r.prompt = tokenizer().encode(prompt);
  return r;
}

// Feeds the ids of `text`, taking forced tokens as they come; the token at which the answer ended, or -1.
struct Fed {
  std::vector<TokenId> ids;
  std::optional<Answer::End> end;
};
Fed feed(Answer& answer, std::string_view text) {
  Fed fed;
  std::vector<TokenId> ids = tokenizer().encode(text);
  for (std::size_t i = 0; i < ids.size() && !fed.end;) {
    const auto forced = answer.forced();
    const TokenId id = forced ? *forced : ids[i++];
    fed.ids.push_back(id);
    fed.end = *answer.take(id, forced.has_value());
  }
  return fed;
}

TEST(Answer, ABudgetClosesTheThinkingAndOnlyThat) {
  JobRequest r = request("<｜User｜>hi<｜Assistant｜><think>");
  r.thinking_budget = 3;
  Answer a = *Answer::begin(tokenizer(), r, 100);
  Fed fed = feed(a, "one two three four five six");
  EXPECT_EQ(fed.ids[3], marker("</think>"));
  EXPECT_EQ(std::count(fed.ids.begin(), fed.ids.end(), marker("</think>")), 1);
  EXPECT_EQ(a.thinking(), 3);
  EXPECT_FALSE(fed.end);
}

TEST(Answer, ABudgetOfZeroDoesNotLetItThink) {
  JobRequest r = request("<｜Assistant｜><think>");
  r.thinking_budget = 0;
  Answer a = *Answer::begin(tokenizer(), r, 100);
  EXPECT_EQ(a.forced(), marker("</think>"));
}

TEST(Answer, ABudgetMeansNothingWhenThinkingIsClosed) {
  JobRequest r = request("<think>a</think>b<｜User｜>c<｜Assistant｜></think>");
  r.thinking_budget = 0;
  Answer a = *Answer::begin(tokenizer(), r, 100);
  EXPECT_FALSE(a.forced());
}

TEST(Answer, TokensArePutInWhereTheAnswerStarts) {
  JobRequest r = request("<｜Assistant｜><think>");
  r.after_thinking = tokenizer().encode("call it");
  Answer a = *Answer::begin(tokenizer(), r, 100);
  EXPECT_FALSE(a.forced());
  Fed fed = feed(a, "so</think>yes");
  std::vector<TokenId> expected = tokenizer().encode("so</think>");
  expected.insert(expected.end(), r.after_thinking.begin(), r.after_thinking.end());
  const auto rest = tokenizer().encode("yes");
  expected.insert(expected.end(), rest.begin(), rest.end());
  EXPECT_EQ(fed.ids, expected);

  JobRequest plain = request("<｜Assistant｜></think>");
  plain.after_thinking = r.after_thinking;
  Answer b = *Answer::begin(tokenizer(), plain, 100);
  EXPECT_EQ(b.forced(), plain.after_thinking[0]);
}

TEST(Answer, StopStringsCountInTheAnswerOnly) {
  JobRequest r = request("<｜Assistant｜><think>");
  r.stop = {"never", "END"};
  Answer a = *Answer::begin(tokenizer(), r, 100);
  EXPECT_FALSE(feed(a, "the END is near</think>so it").end);
  Fed fed = feed(a, " is. END and more");
  ASSERT_TRUE(fed.end);
  EXPECT_EQ(fed.end->finish, JobFinish::kStopString);
  EXPECT_EQ(fed.end->stop_index, 1);
}

TEST(Answer, EndsAtStopIdsAndLimits) {
  JobRequest r = request("<｜Assistant｜></think>");
  r.sampling.stop_ids = {marker("<｜end▁of▁sentence｜>")};
  Answer a = *Answer::begin(tokenizer(), r, 100);
  Fed fed = feed(a, "yes<｜end▁of▁sentence｜>");
  ASSERT_TRUE(fed.end);
  EXPECT_EQ(fed.end->finish, JobFinish::kStop);

  r.max_tokens = 2;
  Answer b = *Answer::begin(tokenizer(), r, 100);
  fed = feed(b, "one two three four");
  ASSERT_TRUE(fed.end);
  EXPECT_EQ(fed.end->finish, JobFinish::kLength);
  EXPECT_EQ(b.length(), 2);

  r.max_tokens = 0;
  EXPECT_FALSE(Answer::begin(tokenizer(), r, 100)->may_begin());
  r.max_tokens = -1;
  EXPECT_FALSE(Answer::begin(tokenizer(), r, 0)->may_begin());
}

}  // namespace
}  // namespace hadal
