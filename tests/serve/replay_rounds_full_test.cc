#include "serve/replay_rounds.h"

namespace hadal::serve {
namespace {

TEST(ReplayRoundsFull, ChatCompletions) { check(chat(), 50); }
TEST(ReplayRoundsFull, Messages) { check(anthropic(), 50); }
TEST(ReplayRoundsFull, Responses) { check(responses(), 50); }

}  // namespace
}  // namespace hadal::serve
