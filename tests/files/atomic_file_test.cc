// files/atomic_file.h: complete or not there, whatever happens to the writer.
#include "files/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
 protected:
  static std::string read(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }
  const test::TemporaryFolder folder_;
  const fs::path directory_ = folder_.path();
  const std::string path_ = folder_.file("target");
};

TEST_F(AtomicFileTest, AppearsWithItsWholeContent) {
  auto file = AtomicFile::create(path_, 0600);
  ASSERT_TRUE(file);
  file->write("abc", 3);
  file->write("defg", 4);
  EXPECT_FALSE(fs::exists(path_));
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(read(path_), "abcdefg");
  EXPECT_EQ(files(), 1u);
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0600u);
}

TEST_F(AtomicFileTest, LeavesTheOldContentWithoutCommit) {
  std::ofstream(path_) << "old";
  {
    auto file = AtomicFile::create(path_);
    ASSERT_TRUE(file);
    file->write("new", 3);
  }
  EXPECT_EQ(read(path_), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, AKilledWriterLeavesNothingUnderTheName) {
  const std::string block(1 << 16, 'x');
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto file = AtomicFile::create(path_);
    if (!file) _exit(1);
    for (;;) file->write(block.data(), block.size());
  }
  while (!fs::exists(path_ + ".partial") || fs::file_size(path_ + ".partial") < block.size()) usleep(1000);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(fs::exists(path_));
  auto next = AtomicFile::create(path_);  // takes over what was left
  ASSERT_TRUE(next) << next.error().what;
  next->write("ok", 2);
  ASSERT_TRUE(next->commit());
  EXPECT_EQ(read(path_), "ok");
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, TwoWritersDoNotMix) {
  auto one = AtomicFile::create(path_);
  ASSERT_TRUE(one);
  auto two = AtomicFile::create(path_);
  ASSERT_FALSE(two);
  EXPECT_EQ(two.error().code, ErrorCode::kIo);
  EXPECT_NE(two.error().what.find("another process is writing it"), std::string::npos);
  one->write("one", 3);
  ASSERT_TRUE(one->commit());
  EXPECT_EQ(read(path_), "one");
  EXPECT_TRUE(AtomicFile::create(path_));
}

TEST_F(AtomicFileTest, FollowsALinkAndRefusesADevice) {
  std::ofstream(directory_ / "real") << "old";
  fs::create_symlink("real", path_);
  auto file = AtomicFile::create(path_);
  ASSERT_TRUE(file);
  file->write("new", 3);
  ASSERT_TRUE(file->commit());
  EXPECT_TRUE(fs::is_symlink(path_));
  EXPECT_EQ(read(directory_ / "real"), "new");
  auto device = AtomicFile::create("/dev/null");
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kUsage);
  auto nowhere = AtomicFile::create((directory_ / "no" / "such").string());
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace hadal
