// Bytes per token at the release shapes equal the paper's accounting (spec 11.1), and places in a page do not overlap.
#include <gtest/gtest.h>

#include <algorithm>

#include "cache/page.h"

namespace hadal {
namespace {

// The fields CacheLayout reads, at release values.
ModelConfig release(bool pro) {
  ModelConfig c;
  c.hidden_size = pro ? 7168 : 4096;
  c.num_hidden_layers = pro ? 61 : 43;
  c.num_nextn_predict_layers = 1;
  c.head_dim = 512;
  c.qk_rope_head_dim = 64;
  c.sliding_window = 128;
  c.index_head_dim = 128;
  c.hc_mult = 4;
  c.compress_ratios = pro ? std::vector<std::int64_t>{128, 128} : std::vector<std::int64_t>{0, 0};
  for (int i = 0; i < (pro ? 29 : 20); ++i) c.compress_ratios.insert(c.compress_ratios.end(), {4, 128});
  c.compress_ratios.insert(c.compress_ratios.end(), {4, 0});
  return c;
}

TEST(CacheLayout, BytesPerTokenEqualTheAccounting) {
  ModelConfig flash = release(false), pro = release(true);
  EXPECT_NEAR(CacheLayout::make(flash, row_format(flash, {})).bytes_per_token(), 3514.2, 35);
  EXPECT_NEAR(CacheLayout::make(pro, row_format(pro, {})).bytes_per_token(), 5031.4, 50);
  // A million tokens of Flash in under 4 GB, everything counted.
  EXPECT_LT(CacheLayout::make(flash, row_format(flash, {})).sequence_bytes(1048576), 4'000'000'000);
}

TEST(CacheLayout, RowsAndKeysAreAsTrained) {
  ModelConfig flash = release(false);
  RowFormat packed = row_format(flash, {});
  EXPECT_EQ(packed.row_bytes(), 584);
  EXPECT_EQ(packed.key_bytes(), 68);
  RowFormat exact = row_format(flash, {.fast = false});
  EXPECT_EQ(exact.row_bytes(), 2048);
  EXPECT_EQ(exact.key_bytes(), 512);
}

TEST(CacheLayout, AreasDoNotOverlapWhateverTheRatios) {
  ModelConfig c = release(false);
  c.compress_ratios = {0, 4, 96, 128, 4, 20, 0};
  c.num_hidden_layers = 6;
  CacheLayout l = CacheLayout::make(c, row_format(c, {}));
  std::vector<std::pair<std::int64_t, std::int64_t>> page, state;
  for (const auto& layer : l.layers) {
    state.push_back({layer.window_offset, c.sliding_window * l.row_bytes});
    if (layer.ratio) {
      EXPECT_EQ(l.page_tokens % layer.ratio, 0);
      page.push_back({layer.rows_offset, layer.rows_per_page * l.row_bytes});
      state.push_back({layer.tail_offset, layer.tail_floats * 4});
    }
    if (layer.ratio == 4) {
      EXPECT_EQ(layer.keys_per_page % kKeyTile, 0);
      page.push_back({layer.keys_offset, layer.keys_per_page * l.key_bytes});
      state.push_back({layer.index_tail_offset, layer.index_tail_floats * 4});
    }
  }
  state.push_back({l.streams_offset, c.hc_mult * c.hidden_size * 4});
  for (auto* areas : {&page, &state}) {
    std::sort(areas->begin(), areas->end());
    for (std::size_t i = 1; i < areas->size(); ++i)
      EXPECT_GE((*areas)[i].first, (*areas)[i - 1].first + (*areas)[i - 1].second);
    for (auto [offset, bytes] : *areas) {
      EXPECT_EQ(offset % 64, 0);
      EXPECT_LE(offset + bytes, areas == &page ? l.page_bytes : l.state_bytes);
    }
  }
}

}  // namespace
}  // namespace hadal
