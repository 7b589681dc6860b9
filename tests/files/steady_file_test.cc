#include "files/steady_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <vector>

#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using testing::HasSubstr;

class SteadyFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<std::byte> bytes(10'000);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
    std::ofstream(path_, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), 10'000);
  }
  SteadyFile open() const {
    const auto map = MappedFile::open(path_).value();
    return SteadyFile::open(map, false).value();
  }
  test::TemporaryFolder folder_;
  std::string path_ = folder_.file("data");
};

TEST_F(SteadyFiles, ReadAnyPart) {
  SteadyFile file = open();
  SteadyFile moved = std::move(file);
  std::vector<std::byte> out(300);
  ASSERT_TRUE(moved.read(9'700, out));
  EXPECT_EQ(out[0], static_cast<std::byte>(9'700 * 7));
  EXPECT_EQ(out[299], static_cast<std::byte>(9'999 * 7));
  std::filesystem::remove(path_);
  EXPECT_TRUE(moved.read(0, out)) << "a file that has lost its name is still there";
}

TEST_F(SteadyFiles, SayThatTheyWereCutOff) {
  const SteadyFile file = open();
  std::filesystem::resize_file(path_, 5'000);
  std::vector<std::byte> out(300);
  for (const std::uint64_t offset : {0, 4'900, 9'000}) {
    const Status read = file.read(offset, out);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, ErrorCode::kIo);
    EXPECT_THAT(read.error().what, HasSubstr(path_ + ": the file has become shorter since it was opened (10000 bytes"));
  }
}

TEST_F(SteadyFiles, SayThatTheyWereWrittenTo) {
  const SteadyFile file = open();
  const auto before = std::filesystem::last_write_time(path_);
  std::filesystem::last_write_time(path_, before + std::chrono::seconds(1));
  std::vector<std::byte> out(300);
  const Status read = file.read(0, out);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().what, HasSubstr(path_ + ": the file was written to since it was opened"));
  std::filesystem::last_write_time(path_, before);
  EXPECT_TRUE(file.read(0, out));
}

TEST_F(SteadyFiles, RefuseAnotherFileUnderTheName) {
  const auto map = MappedFile::open(path_).value();
  std::filesystem::rename(path_, path_ + ".old");
  SetUp();
  const auto opened = SteadyFile::open(map, false);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().what, HasSubstr("was replaced while it was opened"));
}

}  // namespace
}  // namespace hadal
