// The report's figures, as reproduced by the accounting chapter of the model specification.
#include "plan/accounting.h"

#include <gtest/gtest.h>

#include <cmath>

namespace hadal {
namespace {

constexpr std::int64_t kMillion = 1 << 20;

const ModelConfig kFlash = flash_config(), kPro = pro_config();

std::int64_t layers_of(const ModelConfig& c, AttentionKind kind) {
  std::int64_t n = 0;
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) n += c.kind(l) == kind;
  return n;
}

TEST(Published, LayerKinds) {
  EXPECT_EQ(layers_of(kPro, AttentionKind::kHca), 31);
  EXPECT_EQ(layers_of(kPro, AttentionKind::kCsa), 30);
  EXPECT_EQ(layers_of(kFlash, AttentionKind::kSwa), 2);
  EXPECT_EQ(layers_of(kFlash, AttentionKind::kCsa), 21);
  EXPECT_EQ(layers_of(kFlash, AttentionKind::kHca), 20);
  EXPECT_EQ(kFlash.compress_ratios.size(), 44u);
  EXPECT_EQ(kPro.compress_ratios.size(), 62u);
  EXPECT_EQ(kPro.compress_ratios[60], 4);
  EXPECT_EQ(kPro.compress_ratios[61], 0);
}

struct CacheRow {
  CacheCounting (*counting)(const ModelConfig&);
  std::int64_t entry, key;
  double pro_per_token, pro_gb, pro_v32, pro_gqa, flash_per_token, flash_gb, flash_v32, flash_gqa;
};

TEST(Cache, TheTable) {
  const CacheRow rows[] = {
      {packed_counting, 584, 68, 5031.4, 5.276, 10.48, 2.02, 3514.2, 3.685, 7.32, 2.00},
      {payload_counting, 576, 64, 4939.5, 5.179, 10.28, 1.98, 3450.0, 3.618, 7.18, 1.96},
      {fp8_keys_counting, 584, 132, 5511.4, 5.779, 11.47, 2.21, 3850.2, 4.037, 8.02, 2.19},
      {bf16_counting, 1024, 256, 9848.0, 10.326, 11.47, 3.94, 6880.0, 7.214, 8.02, 3.91},
  };
  for (const CacheRow& row : rows) {
    const CacheCounting counting = row.counting(kPro);
    SCOPED_TRACE(counting.name);
    EXPECT_EQ(counting.entry_bytes, row.entry);
    EXPECT_EQ(counting.key_bytes, row.key);
    const bool bf16 = row.counting == bf16_counting;
    const double v32 = static_cast<double>(v32_bytes_per_token({}, bf16)) * kMillion;
    const auto check = [&](const ModelConfig& c, double per_token, double gb, double v32_percent, double gqa_percent) {
      EXPECT_NEAR(cache_bytes_per_token(c, counting), per_token, 0.06);
      EXPECT_NEAR(static_cast<double>(growing_bytes(c, counting, kMillion)) / 1e9, gb, 0.0006);
      const auto held = static_cast<double>(growing_bytes(c, counting, kMillion) + window_bytes(c, counting));
      EXPECT_NEAR(100 * held / v32, v32_percent, 0.006);
      const auto gqa = static_cast<double>(gqa_bytes_per_token({.num_hidden_layers = c.num_hidden_layers}));
      EXPECT_NEAR(100 * held / (gqa * kMillion), gqa_percent, 0.006);
    };
    check(kPro, row.pro_per_token, row.pro_gb, row.pro_v32, row.pro_gqa);
    check(kFlash, row.flash_per_token, row.flash_gb, row.flash_v32, row.flash_gqa);
  }
}

TEST(Cache, Yardsticks) {
  EXPECT_EQ(v32_bytes_per_token({}, false), 48068);
  EXPECT_EQ(v32_bytes_per_token({}, true), 85888);
  EXPECT_EQ(gqa_bytes_per_token({.num_hidden_layers = 1}), 4096);
}

TEST(Cache, Constants) {
  EXPECT_NEAR(static_cast<double>(window_bytes(kPro, packed_counting(kPro))) / 1e6, 4.56, 0.005);
  EXPECT_NEAR(static_cast<double>(window_bytes(kFlash, packed_counting(kFlash))) / 1e6, 3.21, 0.005);
  EXPECT_NEAR(static_cast<double>(open_window_bytes(kPro)) / 1e6, 17.7, 0.05);
}

TEST(Cache, ShortContextsHoldWholeEntriesOnly) {
  const auto packed = packed_counting(kFlash);
  EXPECT_EQ(growing_bytes(kFlash, packed, 3), 0);
  EXPECT_EQ(growing_bytes(kFlash, packed, 4), 21 * (584 + 68));
  EXPECT_EQ(growing_bytes(kFlash, packed, 127), 21 * 31 * (584 + 68));
  EXPECT_EQ(growing_bytes(kFlash, packed, 128), 21 * 32 * (584 + 68) + 20 * 584);
}

struct FlopRow {
  FlopCount got;
  double fp8_linear, experts, wide_linear, index, attention, total;
};

TEST(Flops, TheTableAtOneMillion) {
  const FlopRow rows[] = {
      {decode_flops(kPro, TensorTable(kPro), kMillion), 45.4, 48.4, 3.9, 128.8, 76.7, 303.2},
      {decode_flops(kFlash, TensorTable(kFlash), kMillion), 11.7, 13.0, 1.8, 90.2, 23.6, 140.3},
      {decode_flops(V32Config{}, kMillion), 70.8, 0, 4.2, 1048.0, 34.8, 1157.7},
  };
  for (const FlopRow& row : rows) {
    EXPECT_NEAR(row.got.fp8_linear / 1e9, row.fp8_linear, 0.051);
    EXPECT_NEAR(row.got.experts / 1e9, row.experts, 0.051);
    EXPECT_NEAR(row.got.wide_linear / 1e9, row.wide_linear, 0.051);
    EXPECT_NEAR(row.got.index / 1e9, row.index, 0.051);
    EXPECT_NEAR(row.got.attention / 1e9, row.attention, 0.051);
    EXPECT_NEAR(row.got.total() / 1e9, row.total, 0.06);
  }
}

TEST(Flops, RatiosToV32) {
  const FlopCount pro = decode_flops(kPro, TensorTable(kPro), kMillion),
                  flash = decode_flops(kFlash, TensorTable(kFlash), kMillion),
                  v32 = decode_flops(V32Config{}, kMillion);
  const auto percent = [](double a, double b) { return std::round(1000 * a / b) / 10; };
  const double equivalent = weighted_flops(v32, kEquivalentV32), raw = weighted_flops(v32, kRaw);
  EXPECT_EQ(percent(weighted_flops(pro, kEquivalentV4), equivalent), 26.7);    // the report's 27 %
  EXPECT_EQ(percent(weighted_flops(flash, kEquivalentV4), equivalent), 10.1);  // and 10 %
  EXPECT_EQ(percent(weighted_flops(pro, kRaw), raw), 26.2);
  EXPECT_EQ(percent(weighted_flops(flash, kRaw), raw), 12.1);
  EXPECT_EQ(v32.total(), raw);
}

TEST(Flops, ShortContextsAttendToWhatIsThere) {
  const TensorTable table(kFlash);
  const double per_entry = 4.0 * 64 * 512;
  EXPECT_EQ(decode_flops(kFlash, table, 1).attention, 43 * per_entry);
  EXPECT_EQ(decode_flops(kFlash, table, 1).index, 0);
  EXPECT_EQ(decode_flops(kFlash, table, 8192).attention, (43 * 128 + 21 * 512 + 20 * 64) * per_entry);
}

TEST(Reads, AsTheRooflineTable) {
  const auto check = [](const ModelConfig& c, std::int64_t n, double entries_mb, double keys_mb) {
    const CacheReads r = decode_cache_reads(c, packed_counting(c), n);
    EXPECT_NEAR(r.entries / 1e6, entries_mb, 0.5);
    EXPECT_NEAR(r.keys / 1e6, keys_mb, 0.5);
  };
  check(kFlash, 8192, 10, 3);
  check(kFlash, 131072, 21, 47);
  check(kFlash, kMillion, 105, 374);
  check(kPro, 8192, 24, 4);
  check(kPro, 131072, 41, 67);
  check(kPro, kMillion, 171, 535);
}

}  // namespace
}  // namespace hadal
