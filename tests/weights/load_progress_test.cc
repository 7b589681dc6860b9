#include "weights/load_progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

namespace hadal {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

// What has been written to the other end, without waiting.
std::string written(int descriptor) {
  ::fcntl(descriptor, F_SETFL, O_NONBLOCK);
  char text[4096];
  const ssize_t n = ::read(descriptor, text, sizeof text);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : "";
}

TEST(LoadProgressLine, GivesShareRateAndTimeLeft) {
  EXPECT_EQ(load_progress_line("packing experts", 3'000'000'000, 12'000'000'000, 2),
            "packing experts: 25 %, 3.0 of 12.0 GB, 1.50 GB/s, 6 s left");
  EXPECT_EQ(load_progress_line("x", 0, 1'000'000'000, 1), "x: 0 %, 0.0 of 1.0 GB");
  EXPECT_EQ(load_progress_line("x", 0, 0, 0), "x: 0 %, 0.0 of 0.0 GB");
}

TEST(LoadProgress, WritesToATerminalAndCleansUp) {
  int ours = -1, terminal = -1;
  if (::openpty(&ours, &terminal, nullptr, nullptr, nullptr) != 0) GTEST_SKIP() << "no pseudo-terminals here";
  {
    LoadProgress progress("packing experts", 4'000'000'000, terminal, 0);
    progress.add(1'000'000'000);
    progress.add(1'000'000'000);  // too soon for another line
    const std::string line = written(ours);
    EXPECT_THAT(line, HasSubstr("packing experts: 25 %, 1.0 of 4.0 GB, "));
    EXPECT_THAT(line, EndsWith(" s left"));
  }
  EXPECT_EQ(written(ours), "\r\033[2K");
  {
    LoadProgress patient("packing experts", 100, terminal);
    patient.add(50);
  }
  EXPECT_THAT(written(ours), IsEmpty());
  ::close(ours);
  ::close(terminal);
}

TEST(LoadProgress, KeepsQuietElsewhere) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  {
    LoadProgress progress("packing experts", 100, ends[1], 0);
    progress.add(50);
  }
  EXPECT_THAT(written(ends[0]), IsEmpty());
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace hadal
