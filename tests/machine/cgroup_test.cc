#include "machine/cgroup.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace hadal {
namespace {

// A made-up root with the files of one layout.
class Cgroup : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) /
            ("cgroup_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    const auto file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  CgroupLimits limits() const { return cgroup_limits(root_.string()); }
  std::filesystem::path root_;
};

TEST_F(Cgroup, NoFilesNoLimits) {
  EXPECT_EQ(limits().cpus, 0);
  EXPECT_EQ(limits().memory_bytes, -1);
}

TEST_F(Cgroup, V2TakesTheTightestOfTheParents) {
  write("proc/self/cgroup", "0::/user/job\n");
  write("sys/fs/cgroup/user/job/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/user/cpu.max", "150000 100000\n");
  write("sys/fs/cgroup/user/job/memory.max", "4000000\n");
  write("sys/fs/cgroup/user/job/memory.current", "1500000\n");
  write("sys/fs/cgroup/user/job/memory.stat", "anon 7\ninactive_file 400000\nactive_file 200000\n");
  write("sys/fs/cgroup/user/memory.max", "max\n");
  EXPECT_DOUBLE_EQ(limits().cpus, 1.5);
  EXPECT_EQ(limits().memory_bytes, 4000000);
  EXPECT_EQ(limits().memory_used_bytes, 1000000);
}

TEST_F(Cgroup, V1QuotaAndMemory) {
  write("proc/self/cgroup", "4:cpu,cpuacct:/box\n3:memory:/box\n2:cpuset:/\n");
  write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "250000\n");
  write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000\n");
  write("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "300\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // what v1 writes for none
  EXPECT_DOUBLE_EQ(limits().cpus, 2.5);
  EXPECT_EQ(limits().memory_bytes, 1000);
  EXPECT_EQ(limits().memory_used_bytes, 300);
}

TEST_F(Cgroup, GarbageCountsAsNoLimit) {
  write("proc/self/cgroup", "nonsense\n0::/a\n:::\n");
  write("sys/fs/cgroup/a/cpu.max", "many often\n");
  write("sys/fs/cgroup/a/memory.max", "99999999999999999999999\n");
  EXPECT_EQ(limits().cpus, 0);
  EXPECT_EQ(limits().memory_bytes, -1);
}

}  // namespace
}  // namespace hadal
