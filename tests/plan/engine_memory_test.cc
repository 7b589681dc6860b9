#include "plan/engine_memory.h"

#include <gtest/gtest.h>

#include "cache/sequence.h"
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
  const std::int64_t base = m.weights_bytes + m.step_bytes(1000, 2), one = m.session_bytes(1000);
  EXPECT_EQ(sessions_that_fit(m, 1000, 2, base - 1), 0);
  EXPECT_EQ(sessions_that_fit(m, 1000, 2, base + one - 1), 0);
  EXPECT_EQ(sessions_that_fit(m, 1000, 2, base + one), 1);
  EXPECT_EQ(sessions_that_fit(m, 1000, 2, base + 5 * one + 1), 5);
  EXPECT_EQ(sessions_that_fit(m, 1000, 2, 1 << 30), 0);
}

// What a step really takes, on the embedded model and one or three threads, after prompts of several lengths.
TEST(EngineMemory, PredictsTheWorkingMemoryOfAStep) {
  for (int threads : {1, 3}) {
    for (std::int64_t length : {1, 64, 700, 1024, 5000}) {
      auto checkpoint = Checkpoint::open(std::string(HADAL_SOURCE_DIR) + "/nano/weights");
      ASSERT_TRUE(checkpoint);
      const EngineMemory memory =
          engine_memory((*checkpoint)->config(), (*checkpoint)->table(), false, stored_dtypes(**checkpoint));
      auto weights = load_weights(*checkpoint);
      ASSERT_TRUE(weights);
      ModelOptions options;
      options.threads = threads;
      auto model = Model::create(std::move(*weights), options);
      ASSERT_TRUE(model);
      auto sequence = Sequence::create(*model);
      ASSERT_TRUE(sequence);
      const std::vector<TokenId> ids(static_cast<std::size_t>(length), TokenId{70});
      std::vector<float> logits(static_cast<std::size_t>((*model)->config().vocab_size));
      FeedOutputs outputs;
      outputs.last_logits = logits.data();
      for (std::int64_t at = 0; at < length; at += (*model)->preferred_step()) {
        const auto n = static_cast<std::size_t>(std::min(length - at, (*model)->preferred_step()));
        ASSERT_TRUE(sequence->feed(std::span(ids).subspan(static_cast<std::size_t>(at), n), outputs));
      }
      const double predicted = static_cast<double>(memory.step_bytes(length, threads));
      EXPECT_NEAR(predicted / static_cast<double>((*model)->scratch_bytes()), 1.0, 0.1)
          << length << " tokens, " << threads << " threads, " << (*model)->scratch_bytes() << " bytes";
    }
  }
}

}  // namespace
}  // namespace hadal
