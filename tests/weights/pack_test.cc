#include "weights/pack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "numbers/e2m1.h"
#include "numbers/e4m3.h"
#include "numbers/e8m0.h"
#include "weights/pack_fp4.h"

namespace hadal {
namespace {

struct Buffers {
  std::vector<std::uint8_t> data, scales;
  StoredMatrix matrix;
};

// Packs every tile into fresh memory and hands back the view with its storage.
struct Packed {
  std::vector<std::byte> tiles;
  std::vector<float> scales;
  PackedMatrix view;
};
Packed pack(const StoredMatrix& m) {
  Packed p;
  const Encoding encoding = packed_encoding(m);
  p.tiles.resize(static_cast<std::size_t>(packed_tile_bytes(m, encoding)), std::byte{0xEE});
  p.scales.resize(static_cast<std::size_t>(packed_scale_count(m, encoding)), -1);
  p.view = {encoding, m.rows, m.cols, p.tiles.data(), p.scales.data()};
  for (std::int64_t t = 0; t < p.view.tile_count(); ++t) EXPECT_FALSE(pack_tile(m, p.view, t));
  return p;
}

Buffers random_matrix(DType dtype, std::int64_t rows, std::int64_t cols, unsigned seed) {
  std::mt19937 random(seed);
  Buffers b;
  const std::int64_t bytes = dtype == DType::kI8 ? rows * cols / 2 : rows * cols;
  for (std::int64_t i = 0; i < bytes; ++i) {
    auto code = static_cast<std::uint8_t>(random());
    b.data.push_back(dtype == DType::kE4M3 && e4m3_is_nan(code) ? std::uint8_t{0} : code);
  }
  const std::int64_t scales =
      dtype == DType::kI8 ? rows * ceil_div(cols, 32) : ceil_div(rows, 128) * ceil_div(cols, 128);
  for (std::int64_t i = 0; i < scales; ++i) b.scales.push_back(static_cast<std::uint8_t>(110 + random() % 20));
  b.matrix.dtype = dtype;
  b.matrix.data = std::as_bytes(std::span(b.data));
  b.matrix.rows = rows;
  b.matrix.cols = cols;
  b.matrix.scales = std::as_bytes(std::span(b.scales));
  return b;
}

double stored_value(const Buffers& b, std::int64_t r, std::int64_t c) {
  const StoredMatrix& m = b.matrix;
  if (m.dtype == DType::kI8) {
    const auto byte = b.data[static_cast<std::size_t>((r * m.cols + c) / 2)];
    const auto scale = b.scales[static_cast<std::size_t>(r * ceil_div(m.cols, 32) + c / 32)];
    return static_cast<double>(e2m1_to_float(c % 2 ? byte >> 4 : byte & 15)) * std::ldexp(1.0, scale - 127);
  }
  const auto scale = b.scales[static_cast<std::size_t>(r / 128 * ceil_div(m.cols, 128) + c / 128)];
  return static_cast<double>(e4m3_to_float(b.data[static_cast<std::size_t>(r * m.cols + c)])) *
         std::ldexp(1.0, scale - 127);
}

class PackSizes : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(PackSizes, UnpackGivesStoredValues) {
  const auto [rows, cols] = GetParam();
  for (DType dtype : {DType::kI8, DType::kE4M3}) {
    if (dtype == DType::kI8 && cols % 2 != 0) continue;  // two codes a byte
    const Buffers b = random_matrix(dtype, rows, cols, 5);
    const Packed p = pack(b.matrix);
    EXPECT_EQ(p.view.encoding, dtype == DType::kI8 ? Encoding::kFp4 : Encoding::kFp8);
    const auto values = unpack(p.view);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        ASSERT_EQ(values[static_cast<std::size_t>(r * cols + c)], stored_value(b, r, c))
            << dtype_name(dtype) << " " << r << "," << c;
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, PackSizes,
                         testing::Values(std::pair{16, 32}, std::pair{1, 2}, std::pair{17, 34}, std::pair{128, 128},
                                         std::pair{130, 258}, std::pair{96, 80}, std::pair{300, 96}, std::pair{33, 35},
                                         std::pair{16, 129}));

// The layout itself, spelled out byte by byte for one tile as packed_matrix.h describes it.
TEST(Pack, Fp4TileLayout) {
  Buffers b = random_matrix(DType::kI8, 16, 32, 1);
  for (std::size_t i = 0; i < 16; ++i) b.scales[i] = static_cast<std::uint8_t>(100 + i);
  const Packed p = pack(b.matrix);
  ASSERT_EQ(p.tiles.size(), 272u);
  auto code = [&](std::int64_t r, std::int64_t c) {
    const auto byte = b.data[static_cast<std::size_t>(r * 16 + c / 2)];
    return c % 2 ? byte >> 4 : byte & 15;
  };
  for (std::int64_t g = 0; g < 4; ++g)
    for (std::int64_t row = 0; row < 16; ++row)
      for (std::int64_t k = 0; k < 4; ++k)
        EXPECT_EQ(static_cast<int>(p.tiles[static_cast<std::size_t>(g * 64 + row * 4 + k)]),
                  code(row, 8 * g + k) | code(row, 8 * g + 4 + k) << 4);
  for (std::size_t row = 0; row < 16; ++row) EXPECT_EQ(static_cast<std::size_t>(p.tiles[256 + row]), 100 + row);
}

TEST(Pack, Fp8TileLayout) {
  const Buffers b = random_matrix(DType::kE4M3, 16, 32, 2);
  const Packed p = pack(b.matrix);
  ASSERT_EQ(p.tiles.size(), 8u * 64);
  for (std::size_t block = 0; block < 8; ++block)
    for (std::size_t lane = 0; lane < 4; ++lane)
      for (std::size_t half = 0; half < 2; ++half)
        for (std::size_t r = 0; r < 4; ++r)
          for (std::size_t c = 0; c < 2; ++c)
            EXPECT_EQ(static_cast<std::uint8_t>(p.tiles[block * 64 + lane * 16 + half * 8 + r * 2 + c]),
                      b.data[(4 * lane + r) * 32 + block * 4 + 2 * half + c]);
}

TEST(Pack, PaddingIsZero) {
  const Buffers b = random_matrix(DType::kE4M3, 5, 34, 3);
  const Packed p = pack(b.matrix);
  std::vector<double> wide = unpack({Encoding::kFp8, 16, 64, p.view.tiles, p.view.scales});
  for (std::size_t r = 0; r < 16; ++r)
    for (std::size_t c = 0; c < 64; ++c)
      if (r >= 5 || c >= 34) {
        EXPECT_EQ(wide[r * 64 + c], 0) << r << "," << c;
      }
  const Buffers q = random_matrix(DType::kI8, 5, 34, 3);
  const Packed f = pack(q.matrix);
  wide = unpack({Encoding::kFp4, 16, 64, f.view.tiles, nullptr});
  for (std::size_t r = 0; r < 16; ++r)
    for (std::size_t c = 0; c < 64; ++c)
      if (r >= 5 || c >= 34) {
        EXPECT_EQ(wide[r * 64 + c], 0) << r << "," << c;
      }
}

// Rows 120..143 of a matrix lie in two scale blocks: one float per tile cannot say that, so the values are stored as
// BF16.
TEST(Pack, GroupAcrossScaleBlocks) {
  Buffers b = random_matrix(DType::kE4M3, 144, 96, 4);
  b.scales = {120, 125};
  b.matrix.scales = std::as_bytes(std::span(b.scales));
  b.matrix.first_row = 120;
  b.matrix.rows = 24;
  const Packed p = pack(b.matrix);
  EXPECT_EQ(p.view.encoding, Encoding::kBf16);
  const auto values = unpack(p.view);
  for (std::int64_t r = 0; r < 24; ++r)
    for (std::int64_t c = 0; c < 96; ++c)
      ASSERT_EQ(values[static_cast<std::size_t>(r * 96 + c)], stored_value(b, 120 + r, c));
}

TEST(Pack, Fp4PackersAgree) {
  std::mt19937 random(3);
  for (const std::int64_t cols : {32, 96, 128, 160, 256, 416, 2048})
    for (const std::int64_t shift : {0, 1, 16}) {  // tensors and tiles need not be aligned
      const std::int64_t blocks = cols / 32;
      std::vector<std::byte> data(static_cast<std::size_t>(32 * cols / 2 + shift));
      std::vector<std::byte> scales(static_cast<std::size_t>(32 * blocks + shift));
      for (auto& b : data) b = static_cast<std::byte>(random());
      for (auto& b : scales) b = static_cast<std::byte>(random() % 255);
      const auto pack = [&](PackFp4 with, std::int64_t& bad) {
        std::vector<std::byte> room(static_cast<std::size_t>(blocks * kFp4TileBytes + 128), std::byte{0xA5});
        const auto base = reinterpret_cast<std::uintptr_t>(room.data()) % 64;
        std::byte* out = room.data() + (64 - base) + shift;
        bad = with({data.data() + shift, scales.data() + shift, cols, 16}, out);
        EXPECT_EQ(out[blocks * kFp4TileBytes], std::byte{0xA5});
        return std::vector<std::byte>(out, out + blocks * kFp4TileBytes);
      };
      std::int64_t bad = 0;
      const std::vector<std::byte> expected = pack(fp4_packers().front().pack, bad);
      EXPECT_EQ(bad, -1);
      for (const Fp4Packer& p : fp4_packers()) EXPECT_EQ(pack(p.pack, bad), expected) << p.name << ' ' << cols;
      // Two NaN scales: the one in the earlier block is named, though its row is later.
      const std::int64_t early = static_cast<std::int64_t>(random() % static_cast<unsigned>(blocks));
      scales[static_cast<std::size_t>(shift + 3 * blocks + blocks - 1)] = std::byte{0xFF};
      scales[static_cast<std::size_t>(shift + 9 * blocks + early)] = std::byte{0xFF};
      for (const Fp4Packer& p : fp4_packers()) {
        pack(p.pack, bad);
        EXPECT_EQ(bad, early < blocks - 1 ? early * 16 + 9 : early * 16 + 3) << p.name << ' ' << cols;
      }
    }
}

TEST(Pack, FaultsNameTheirPlace) {
  Buffers b = random_matrix(DType::kE4M3, 40, 64, 6);
  b.data[20 * 64 + 7] = 0xFF;
  Packed p;
  p.tiles.resize(static_cast<std::size_t>(packed_tile_bytes(b.matrix, Encoding::kFp8)));
  p.scales.resize(static_cast<std::size_t>(packed_scale_count(b.matrix, Encoding::kFp8)));
  p.view = {Encoding::kFp8, 40, 64, p.tiles.data(), p.scales.data()};
  EXPECT_FALSE(pack_tile(b.matrix, p.view, 0));
  const auto fault = pack_tile(b.matrix, p.view, 1);
  ASSERT_TRUE(fault);
  EXPECT_FALSE(fault->in_scale);
  EXPECT_EQ(fault->row, 20);
  EXPECT_EQ(fault->col, 7);
  b.scales[0] = 255;
  ASSERT_TRUE(pack_tile(b.matrix, p.view, 0));
  EXPECT_TRUE(pack_tile(b.matrix, p.view, 0)->in_scale);
}

}  // namespace
}  // namespace hadal
