#include "plan/weight_count.h"

#include <gtest/gtest.h>

#include "plan/published.h"

namespace hadal {
namespace {

TEST(WeightCount, ParametersOfTheReport) {
  const ModelConfig flash = flash_config(), pro = pro_config();
  const auto f = count_release(flash, TensorTable(flash), ReleaseKind::kRelease);
  EXPECT_EQ(f.parameters, 284332240471.0);
  EXPECT_NEAR(f.active_parameters / 1e9, 13.80, 0.005);
  const auto p = count_release(pro, TensorTable(pro), ReleaseKind::kRelease);
  EXPECT_EQ(p.parameters, 1572997201763.0);
  EXPECT_NEAR(p.active_parameters / 1e9, 49.78, 0.005);
}

TEST(WeightCount, CheckpointBytes) {
  struct Row {
    ModelConfig config;
    ReleaseKind kind;
    double main_gb, mtp_gb;
  };
  const Row rows[] = {{pro_config(), ReleaseKind::kRelease, 850.748, 13.957},
                      {pro_config(), ReleaseKind::kBase, 1576.472, 29.560},
                      {flash_config(), ReleaseKind::kRelease, 156.016, 3.594},
                      {flash_config(), ReleaseKind::kBase, 285.940, 8.733}};
  for (const Row& row : rows) {
    const auto w = count_release(row.config, TensorTable(row.config), row.kind);
    EXPECT_NEAR(static_cast<double>(w.main_bytes) / 1e9, row.main_gb, 0.0006);
    EXPECT_NEAR(static_cast<double>(w.mtp_bytes) / 1e9, row.mtp_gb, 0.0006);
    std::int64_t sum = 0;
    for (const auto& c : w.classes) sum += c.bytes;
    EXPECT_EQ(sum, w.total_bytes());
  }
}

TEST(WeightCount, BytesReadForOneToken) {
  // 11.21 and 39.66 GB in the roofline table, which leaves out norms, position biases and scales of scales.
  const ModelConfig flash = flash_config(), pro = pro_config();
  EXPECT_NEAR(count_release(flash, TensorTable(flash), ReleaseKind::kRelease).active_bytes / 1e9, 11.21, 0.03);
  EXPECT_NEAR(count_release(pro, TensorTable(pro), ReleaseKind::kRelease).active_bytes / 1e9, 39.66, 0.03);
}

TEST(WeightCount, ADirectoryIsCountedFromItsHeaders) {
  auto checkpoint = Checkpoint::open_for_inspection(std::string(HADAL_SOURCE_DIR) + "/nano/weights");
  ASSERT_TRUE(checkpoint) << checkpoint.error().what;
  const auto stored = count_stored(**checkpoint);
  const auto computed = count_release((*checkpoint)->config(), (*checkpoint)->table(), ReleaseKind::kRelease);
  EXPECT_EQ(stored.main_bytes, computed.main_bytes);
  EXPECT_EQ(stored.parameters, computed.parameters);
  EXPECT_GT(stored.routed_bytes, 0);
  std::int64_t on_disk = 0;
  for (const auto& [name, tensor] : (*checkpoint)->stored()) on_disk += static_cast<std::int64_t>(tensor.bytes);
  EXPECT_EQ(stored.total_bytes(), on_disk);
}

}  // namespace
}  // namespace hadal
