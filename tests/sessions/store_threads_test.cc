// Store, turn memory and the syncing thread used by several threads at once; ThreadSanitizer looks on.
#include <gtest/gtest.h>

#include <thread>

#include "sessions/log_model.h"
#include "sessions/session_store.h"
#include "sessions/turn_memory.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

TEST(StoreThreads, EverySessionIsFoundByWhoeverLooks) {
  const test::TemporaryFolder folder;
  SessionStoreOptions options;
  options.identity = test::plain_header().identity;
  options.sync_every = std::chrono::milliseconds(1);
  auto store = SessionStore::open(folder.path(), options);
  ASSERT_TRUE(store);
  TurnMemoryOptions remembering;
  remembering.sync = (*store)->sync_policy();
  remembering.most_bytes = 20000;
  auto memory = TurnMemory::open(folder.file("turns"), 1, remembering);
  ASSERT_TRUE(memory);
  constexpr int kThreads = 4, kSessions = 5, kTokens = 60;
  const auto work = [&](int thread) {
    for (int s = 0; s < kSessions; ++s) {
      const int first = 1000 * thread + 100 * s;
      auto log = (*store)->create();
      ASSERT_TRUE(log) << log.error().what;
      std::vector<TokenId> ids;
      for (int i = 0; i < kTokens; ++i) {
        const Sampled token{TokenId{first + i}, -1, -1, 0};
        ASSERT_TRUE(log->append({&token, 1}));
        ids.push_back(token.id);
      }
      (*store)->update(*log);
      ids.push_back(TokenId{1});
      ASSERT_EQ((*store)->find_prefix(ids), log->id());
      ASSERT_TRUE((*store)->list());
      const std::string call = std::to_string(first);
      ASSERT_TRUE(memory->remember_call(call, ids));
      ASSERT_EQ(memory->find_call(call), ids);
      ASSERT_EQ((*store)->remove(log->id()).error().code, ErrorCode::kBusy);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& t : threads) t.join();
  const auto list = (*store)->list();
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), static_cast<std::size_t>(kThreads * kSessions));
  for (const SessionSummary& s : *list) EXPECT_EQ(s.length, kTokens);
}

}  // namespace
}  // namespace hadal
