#include "plan/engine_memory.h"

#include <gtest/gtest.h>

#include "plan/accounting.h"
#include "plan/published.h"
#include "weights/model_weights.h"

namespace hadal {
namespace {

TEST(EngineMemory, PredictsTheLoadersArenaExactly) {
  auto checkpoint = Checkpoint::open(std::string(HADAL_SOURCE_DIR) + "/nano/weights");
  ASSERT_TRUE(checkpoint) << checkpoint.error().what;
  const Checkpoint& c = **checkpoint;
  const EngineMemory memory = engine_memory(c.config(), c.table(), c.has_mtp(), stored_dtypes(c));
  auto weights = load_weights(*checkpoint);
  ASSERT_TRUE(weights) << weights.error().what;
  EXPECT_EQ(memory.weights_bytes, weights->resident_bytes);
  EXPECT_GT(memory.mapped_bytes, 0);
}

// The engine adds to the report's count only page rounding, one MTP window, two slots instead of one and a half for
// open windows, and the list of ids.
TEST(EngineMemory, SessionsCostWhatTheReportCounts) {
  for (const ModelConfig& config : {flash_config(), pro_config()}) {
    const EngineMemory memory =
        engine_memory(config, TensorTable(config), false, release_dtypes(ReleaseKind::kRelease));
    const CacheCounting packed = packed_counting(config);
    EXPECT_NEAR(memory.layout.bytes_per_token(), cache_bytes_per_token(config, packed), 2.0);
    constexpr std::int64_t n = 1 << 20;
    const auto counted = static_cast<double>(growing_bytes(config, packed, n) + window_bytes(config, packed) +
                                             open_window_bytes(config) + 4 * n);
    EXPECT_NEAR(static_cast<double>(memory.session_bytes(n)) / counted, 1.0, 0.005);
    EXPECT_GE(static_cast<double>(memory.session_bytes(n)), counted);
  }
}

TEST(EngineMemory, PackedWeightsAreAboutAsLargeAsStored) {
  const ModelConfig config = flash_config();
  const TensorTable table(config);
  const auto stored = count_release(config, table, ReleaseKind::kRelease);
  const EngineMemory memory = engine_memory(config, table, true, release_dtypes(ReleaseKind::kRelease));
  EXPECT_NEAR(
      static_cast<double>(memory.weights_bytes + memory.mapped_bytes) / static_cast<double>(stored.total_bytes()), 1.0,
      0.01);
}

TEST(EngineMemory, SessionsThatFit) {
  const ModelConfig config = flash_config();
  const EngineMemory m = engine_memory(config, TensorTable(config), false, release_dtypes(ReleaseKind::kRelease));
  const std::int64_t base = m.weights_bytes + m.scratch_bytes, one = m.session_bytes(1000);
  EXPECT_EQ(sessions_that_fit(m, 1000, base - 1), 0);
  EXPECT_EQ(sessions_that_fit(m, 1000, base + one - 1), 0);
  EXPECT_EQ(sessions_that_fit(m, 1000, base + one), 1);
  EXPECT_EQ(sessions_that_fit(m, 1000, base + 5 * one + 1), 5);
  EXPECT_EQ(sessions_that_fit(m, 1000, 1 << 30), 0);
}

}  // namespace
}  // namespace hadal
