// weights/repack_cache.h: the second start maps what the first one packed, and nothing else is ever mapped.
#include "weights/repack_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "support/tiny_checkpoint.h"
#include "weights/model_weights.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using test::TinyCheckpoint;

std::string bytes_of(const PackedMatrix& m) {
  std::string out(reinterpret_cast<const char*>(m.tiles), static_cast<std::size_t>(m.bytes()));
  if (m.scales)
    out.append(reinterpret_cast<const char*>(m.scales),
               static_cast<std::size_t>(m.tile_count() * m.scale_blocks()) * sizeof(float));
  return out;
}

// Something of every kind of tensor, of every layer.
std::string content(const ModelWeights& w) {
  const ModelConfig& c = w.config;
  auto floats = [](const float* p, std::int64_t n) {
    return std::string(reinterpret_cast<const char*>(p), static_cast<std::size_t>(n) * sizeof(float));
  };
  std::string out = bytes_of(w.head) + floats(w.norm, c.hidden_size) + bytes_of(w.hc_head.fn);
  for (const BlockWeights& b : w.layers) {
    for (const PackedMatrix* m : {&b.hc_attn.fn, &b.attn.wq_a, &b.attn.wq_b, &b.attn.wkv, &b.attn.wo_b, &b.ffn.gate,
                                  &b.ffn.shared.w1, &b.ffn.shared.w2, &b.ffn.experts.back().w2})
      out += bytes_of(*m);
    for (const PackedMatrix& m : b.attn.wo_a) out += bytes_of(m);
    out += floats(b.attn_norm, c.hidden_size) + floats(b.attn.attn_sink, c.num_attention_heads);
    if (b.ffn.bias) out += floats(b.ffn.bias, c.n_routed_experts);
    if (b.ffn.tid2eid)
      out.append(reinterpret_cast<const char*>(b.ffn.tid2eid),
                 static_cast<std::size_t>(c.vocab_size * c.num_experts_per_tok) * sizeof(std::int32_t));
  }
  for (std::int32_t id = 0; id < c.vocab_size; ++id) {
    std::string row(static_cast<std::size_t>(c.hidden_size) * 2, '\0');
    EXPECT_TRUE(w.embed.gather(std::array{TokenId{id}}, reinterpret_cast<std::uint16_t*>(row.data())));
    out += row;
  }
  return out;
}

class RepackCacheTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(TinyCheckpoint::generate(test::tiny_flash()).write(model_.path())); }

  std::shared_ptr<const Checkpoint> open() const {
    auto checkpoint = Checkpoint::open(model_.path());
    EXPECT_TRUE(checkpoint) << checkpoint.error().what;
    return *checkpoint;
  }
  std::string load(const std::string& directory) const {
    auto weights = load_weights(open(), {}, directory);
    EXPECT_TRUE(weights) << weights.error().what;
    return weights ? content(*weights) : std::string();
  }
  std::string file() const { return repack_cache_path(open()->fingerprint(), directory()); }
  std::string directory() const { return cache_.path() + "/packed"; }  // made by the first use
  std::string shard() const {
    for (const auto& entry : fs::directory_iterator(model_.path()))
      if (entry.path().extension() == ".safetensors") return entry.path();
    return {};
  }
  // Changes one byte and leaves the time of modification as it was.
  static void flip(const std::string& path, std::int64_t from_end) {
    struct stat info = {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    std::fstream f(path, std::ios::binary | std::ios::in | std::ios::out);
    f.seekg(-from_end, std::ios::end);
    const char c = static_cast<char>(f.get() ^ 1);
    f.seekp(-from_end, std::ios::end);
    f.put(c);
    f.close();
    const timespec times[2] = {info.st_atim, info.st_mtim};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }

  const TemporaryFolder model_, cache_;
};

TEST_F(RepackCacheTest, TheSecondStartHasTheSameBytes) {
  const std::string packed = load("");
  EXPECT_EQ(load(directory()), packed);
  ASSERT_TRUE(fs::exists(file()));
  const auto written = fs::last_write_time(file());
  EXPECT_EQ(load(directory()), packed);
  EXPECT_EQ(fs::last_write_time(file()), written);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory()), fs::directory_iterator()), 1);
}

TEST_F(RepackCacheTest, TheSecondStartMapsInsteadOfPacking) {
  (void)load(directory());
  auto weights = load_weights(open(), {}, directory());
  ASSERT_TRUE(weights);
  std::ifstream maps("/proc/self/maps");
  const std::string text{std::istreambuf_iterator<char>(maps), {}};
  EXPECT_NE(text.find(fs::path(file()).filename()), std::string::npos);
}

TEST_F(RepackCacheTest, DamagedContentIsPackedAgain) {
  const std::string packed = load(directory());
  for (const std::int64_t from_end : {std::int64_t{1}, static_cast<std::int64_t>(fs::file_size(file())) - 30}) {
    flip(file(), from_end);
    testing::internal::CaptureStderr();
    EXPECT_EQ(load(directory()), packed);
    EXPECT_NE(testing::internal::GetCapturedStderr().find("packing the weights again"), std::string::npos);
    testing::internal::CaptureStderr();
    EXPECT_EQ(load(directory()), packed);  // repaired
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  }
  fs::resize_file(file(), fs::file_size(file()) / 2);
  EXPECT_EQ(load(directory()), packed);
}

TEST_F(RepackCacheTest, ATouchedCheckpointIsPackedAgain) {
  (void)load(directory());
  const auto written = fs::last_write_time(file());
  fs::last_write_time(shard(), fs::last_write_time(shard()) + std::chrono::seconds(5));
  (void)load(directory());
  EXPECT_NE(fs::last_write_time(file()), written);
}

TEST_F(RepackCacheTest, RefusesWhatIsNoDirectory) {
  auto bad = load_weights(open(), {}, shard());
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, ErrorCode::kUsage);
  bad = load_weights(open(), {}, cache_.path() + "/no/such");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace hadal
