// A process that appends and acknowledges is killed at random moments: nothing acknowledged may be lost.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "sessions/log_model.h"
#include "sessions/session_log.h"
#include "sessions/turn_memory.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

// Runs `work` in a child with a pipe to acknowledge into, kills it, and gives the last acknowledged number.
template <class Work>
std::int64_t killed_after(int microseconds, const Work& work) {
  int ends[2];
  if (::pipe(ends) != 0) return -2;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    work([&](std::int64_t n) {
      if (::write(ends[1], &n, sizeof n) != static_cast<ssize_t>(sizeof n)) ::_exit(3);
    });
    ::_exit(2);  // work that ends by itself went wrong
  }
  ::close(ends[1]);
  std::int64_t last = -1, n = 0;
  bool killed = false;
  // The clock starts with the first acknowledgement, so that every run has something to lose.
  while (::read(ends[0], &n, sizeof n) == static_cast<ssize_t>(sizeof n)) {
    last = n;
    if (!killed && microseconds == 0) killed = ::kill(child, SIGKILL) == 0;
    if (!killed && n >= microseconds) killed = ::kill(child, SIGKILL) == 0;
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? last : -3;
}

TEST(Kill, NothingAcknowledgedIsLostFromALog) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("log");
  ASSERT_TRUE(SessionLog::create(path, test::plain_header(), test::never()));
  std::mt19937 random(7);
  Position known = 0;
  for (int round = 0; round < 50; ++round) {
    const std::int64_t last = killed_after(static_cast<int>(random() % 400), [&](const auto& acknowledge) {
      auto log = SessionLog::open(path, test::never());
      if (!log) ::_exit(4);
      for (std::int64_t i = 0;; ++i) {
        const Position at = log->length();
        const Sampled token{TokenId{static_cast<std::int32_t>(at % 1000)}, -1.0 * static_cast<double>(at), 0, 0};
        if (!log->append({&token, 1})) ::_exit(5);
        if (i % 7 == 0 && !log->add_mark(MessageRole::kAssistant, at)) ::_exit(5);
        acknowledge(i);
      }
    });
    ASSERT_GE(last, 0) << "round " << round;
    auto log = SessionLog::read(path);
    ASSERT_TRUE(log) << log.error().what;
    ASSERT_GE(log->length(), known + last + 1) << "round " << round;
    for (Position i = known; i < log->length(); ++i)
      ASSERT_EQ(to_int(log->tokens()[static_cast<std::size_t>(i)]), i % 1000);
    known = log->length();
  }
  const auto tail = SessionLog::open(path, test::never())->logged(0, known - 1, 1);
  EXPECT_EQ(tail->at(0).sampled.logprob, -1.0 * static_cast<double>(known - 1));
}

TEST(Kill, NothingAcknowledgedIsLostFromATurnMemory) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("turns");
  TurnMemoryOptions options;
  options.sync = test::never();
  options.most_bytes = 1 << 16;  // so that rounds also meet the moment of compaction
  std::mt19937 random(9);
  std::int64_t first = 0;
  for (int round = 0; round < 30; ++round) {
    const std::int64_t last = killed_after(static_cast<int>(random() % 300), [&](const auto& acknowledge) {
      auto memory = TurnMemory::open(path, 1, options);
      if (!memory) ::_exit(4);
      for (std::int64_t i = 0;; ++i) {
        const std::vector<TokenId> ids(20, TokenId{static_cast<std::int32_t>(first + i)});
        if (!memory->remember_call(std::to_string(first + i), ids)) ::_exit(5);
        acknowledge(i);
      }
    });
    ASSERT_GE(last, 0) << "round " << round << ": " << last;
    auto memory = TurnMemory::open(path, 1, options);
    ASSERT_TRUE(memory) << memory.error().what;
    // The newest are kept whatever was compacted away.
    for (std::int64_t i = std::max<std::int64_t>(0, last - 50); i <= last; ++i) {
      const auto ids = memory->find_call(std::to_string(first + i));
      ASSERT_TRUE(ids.has_value()) << "round " << round << " turn " << first + i;
      ASSERT_EQ(to_int(ids->front()), first + i);
    }
    first += last + 1000;
  }
}

}  // namespace
}  // namespace hadal
