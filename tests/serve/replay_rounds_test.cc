#include "serve/replay_rounds.h"

namespace hadal::serve {
namespace {

TEST(ReplayRounds, ChatCompletions) { check(chat(), 4); }
TEST(ReplayRounds, Messages) { check(anthropic(), 4); }
TEST(ReplayRounds, Responses) { check(responses(), 4); }

}  // namespace
}  // namespace hadal::serve
