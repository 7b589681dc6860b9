// Random checkpoints of a release's layer sizes: well formed, finite, the same bytes every time.
#include "weights/random_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cache/sequence.h"
#include "plan/published.h"
#include "support/tiny_checkpoint.h"
#include "weights/checkpoint.h"

namespace hadal {
namespace {

// Flash's mechanisms at sizes that are written in milliseconds.
ModelConfig small_flash() {
  ModelConfig c = flash_config();
  c.hidden_size = 256;
  c.num_attention_heads = 8;
  c.q_lora_rank = 64;
  c.o_groups = 2;
  c.o_lora_rank = 64;
  c.index_n_heads = 4;
  c.index_topk = 16;
  c.n_routed_experts = 8;
  c.moe_intermediate_size = 128;
  c.vocab_size = 512;
  c.num_hidden_layers = 4;
  c.compress_ratios.resize(4);
  c.compress_ratios.push_back(0);
  return c;
}

std::string read(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

TEST(RandomWeights, ConfigurationComesBackAsWritten) {
  for (const ModelConfig& config : {flash_config(), pro_config(), small_flash()}) {
    auto back = parse_config(config_text(config), "config.json");
    ASSERT_TRUE(back) << back.error().what;
    EXPECT_EQ(config_text(*back), config_text(config));
    EXPECT_EQ(back->compress_ratios, config.compress_ratios);
  }
}

TEST(RandomWeights, ShardsAreCompleteAndRun) {
  const test::TemporaryFolder folder;
  RandomCheckpointOptions options;
  options.shard_bytes = 1 << 20;
  std::int64_t last = 0, total = 0;
  options.progress = [&](std::int64_t done, std::int64_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
    return true;
  };
  ASSERT_TRUE(write_random_checkpoint(small_flash(), folder.path(), options));
  EXPECT_EQ(last, total);
  EXPECT_TRUE(std::filesystem::exists(folder.file("model.safetensors.index.json")));

  auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().what;
  EXPECT_TRUE((*checkpoint)->has_mtp());
  auto weights = load_weights(*checkpoint);
  ASSERT_TRUE(weights) << weights.error().what;
  auto model = Model::create(std::move(*weights), {});
  ASSERT_TRUE(model);
  auto sequence = Sequence::create(*model);
  ASSERT_TRUE(sequence);
  std::vector<TokenId> ids;
  for (int i = 0; i < 140; ++i) ids.push_back(TokenId{i * 3});
  std::vector<float> logits(512);
  FeedOutputs outputs;
  outputs.last_logits = logits.data();
  ASSERT_TRUE(sequence->feed(ids, outputs));
  double square = 0;
  for (float x : logits) square += static_cast<double>(x) * x;
  EXPECT_NEAR(std::sqrt(square / 512), 1.0, 0.6);  // of unit size: not saturated, not vanished
}

TEST(RandomWeights, TheSameSeedGivesTheSameBytes) {
  const test::TemporaryFolder a, b, c;
  RandomCheckpointOptions options;
  ASSERT_TRUE(write_random_checkpoint(small_flash(), a.path(), options));
  ASSERT_TRUE(write_random_checkpoint(small_flash(), b.path(), options));
  options.seed = 2;
  ASSERT_TRUE(write_random_checkpoint(small_flash(), c.path(), options));
  const std::string shard = "model-00001-of-00001.safetensors";
  EXPECT_EQ(read(a.file(shard)), read(b.file(shard)));
  EXPECT_NE(read(a.file(shard)), read(c.file(shard)));
}

TEST(RandomWeights, NeverWritesOverACheckpoint) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_random_checkpoint(small_flash(), folder.path(), {}));
  Status again = write_random_checkpoint(small_flash(), folder.path(), {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kUsage);
}

TEST(RandomWeights, StopsWithoutLeavingACheckpoint) {
  const test::TemporaryFolder folder;
  RandomCheckpointOptions options;
  options.shard_bytes = 1 << 18;
  options.progress = [](std::int64_t, std::int64_t) { return false; };
  Status stopped = write_random_checkpoint(small_flash(), folder.path(), options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(folder.file("config.json")));
}

}  // namespace
}  // namespace hadal
