#include "machine/disk_probe.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace hadal {
namespace {

class File {
 public:
  explicit File(std::size_t bytes)
      : path_((std::filesystem::temp_directory_path() / fmt::format("hadal_disk_{}", ::getpid())).string()) {
    std::ofstream(path_) << std::string(bytes, 'x');
  }
  ~File() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(DiskProbe, ReadsPiecesThatTheFilesHave) {
  const File file(std::size_t{9} << 20);
  const auto rates = probe_disk({file.path()}, 0.05, {});
  if (!rates) {  // memory file systems refuse direct reads, and that is said
    EXPECT_EQ(rates.error().code, ErrorCode::kUnsupported) << rates.error().what;
    return;
  }
  ASSERT_EQ(rates->size(), 1u);  // 16 MiB are more than there is
  EXPECT_EQ((*rates)[0].piece_bytes, 4 << 20);
  EXPECT_GE((*rates)[0].bytes_per_second, 0);
  EXPECT_LT((*rates)[0].bytes_per_second, 1e12);
}

TEST(DiskProbe, RefusesByName) {
  const auto none = probe_disk({"/no/such/file"}, 0.01, {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kIo);
  EXPECT_NE(none.error().what.find("/no/such/file"), std::string::npos);
  const File small(4096);
  const auto too_small = probe_disk({small.path()}, 0.01, {});
  ASSERT_FALSE(too_small);
  EXPECT_TRUE(too_small.error().code == ErrorCode::kNotFound || too_small.error().code == ErrorCode::kUnsupported);
}

TEST(DiskProbe, Stops) {
  const File file(std::size_t{5} << 20);
  const auto stopped = probe_disk({file.path()}, 3600, [] { return false; });
  ASSERT_FALSE(stopped);
  EXPECT_TRUE(stopped.error().code == ErrorCode::kCancelled || stopped.error().code == ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace hadal
