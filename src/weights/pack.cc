#include "weights/pack.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "numbers/bf16.h"
#include "numbers/e2m1.h"
#include "numbers/e4m3.h"
#include "numbers/e8m0.h"
#include "weights/pack_fp4.h"

namespace hadal {
namespace {

constexpr std::int64_t kScaleColumns = 128;  // PackedMatrix keeps one FP8 scale per so many columns
constexpr std::int64_t kFp4Block = 32;

template <class T>
T load(const std::byte* data, std::int64_t index) {
  T v;  // tensors need not be aligned in the file
  std::memcpy(&v, data + static_cast<std::size_t>(index) * sizeof(T), sizeof(T));
  return v;
}

// The FP8 scale of absolute row r, column block b; NaN if the stored one is.
float fp8_scale(const StoredMatrix& m, std::int64_t r, std::int64_t b) {
  const std::int64_t index = r / m.block * ceil_div(m.cols, m.block) + b;
  return m.scale_dtype == DType::kF32 ? load<float>(m.scales.data(), index)
                                      : e8m0_to_float(load<std::uint8_t>(m.scales.data(), index));
}

// Rows of a tile that exist, from its first one on.
struct TileRows {
  std::int64_t first;  // absolute
  std::int64_t count;  // 1 .. 16
};
TileRows rows_of(const StoredMatrix& m, std::int64_t tile) {
  return {m.first_row + tile * kTileRows, std::min(kTileRows, m.rows - tile * kTileRows)};
}

// Eight columns of one row, two codes a byte, to four bytes: byte b holds column b low and column 4+b high.
void regroup_fp4(const std::byte* in, std::byte* out) {
  std::uint8_t i[4], o[4];
  std::memcpy(i, in, 4);
  o[0] = static_cast<std::uint8_t>((i[0] & 0x0F) | i[2] << 4);
  o[1] = static_cast<std::uint8_t>(i[0] >> 4 | (i[2] & 0xF0));
  o[2] = static_cast<std::uint8_t>((i[1] & 0x0F) | i[3] << 4);
  o[3] = static_cast<std::uint8_t>(i[1] >> 4 | (i[3] & 0xF0));
  std::memcpy(out, o, 4);
}

std::optional<PackFault> pack_fp4_whole(const StoredMatrix& m, TileRows rows, std::byte* out) {
  static const PackFp4 pack = fp4_packers().back().pack;
  const std::int64_t blocks = m.cols / kFp4Block;
  const std::int64_t after = m.first_row + m.rows - rows.first - kTileRows;
  const std::int64_t bad =
      pack({m.data.data() + rows.first * (m.cols / 2), m.scales.data() + rows.first * blocks, m.cols, after}, out);
  if (bad < 0) return std::nullopt;
  return PackFault{true, rows.first + bad % kTileRows, bad / kTileRows * kFp4Block};
}

std::optional<PackFault> pack_fp4(const StoredMatrix& m, TileRows rows, std::byte* out) {
  if (rows.count == kTileRows && m.cols % kFp4Block == 0) return pack_fp4_whole(m, rows, out);
  constexpr std::int64_t kBlockBytes = kFp4Block / 2;
  const std::int64_t blocks = ceil_div(m.cols, kFp4Block), row_bytes = m.cols / 2;
  for (std::int64_t block = 0; block < blocks; ++block, out += kFp4TileBytes) {
    if (rows.count < kTileRows) {
      std::memset(out, 0, 256);
      std::memset(out + 256, 127, kTileRows);  // rows of padding: zeros times 2^0
    }
    const std::int64_t bytes = std::min(kBlockBytes, row_bytes - block * kBlockBytes);
    for (std::int64_t r = 0; r < rows.count; ++r) {
      const std::byte* in = m.data.data() + (rows.first + r) * row_bytes + block * kBlockBytes;
      std::byte padded[kBlockBytes] = {};
      if (bytes < kBlockBytes) {
        std::memcpy(padded, in, static_cast<std::size_t>(bytes));
        in = padded;
      }
      for (std::int64_t g = 0; g < 4; ++g) regroup_fp4(in + 4 * g, out + 64 * g + 4 * r);
      const auto scale = load<std::uint8_t>(m.scales.data(), (rows.first + r) * blocks + block);
      if (scale == kE8m0Nan) return PackFault{true, rows.first + r, block * kFp4Block};
      out[256 + r] = static_cast<std::byte>(scale);
    }
  }
  return std::nullopt;
}

// The first element whose `mask` bits are all ones, which is how E4M3 spells NaN and BF16 and F32 infinity and NaN.
template <class T>
std::optional<std::int64_t> first_all_ones(const std::byte* data, std::int64_t count, T mask) {
  T found = 0;  // no branch inside, so that the compiler uses vectors
  for (std::int64_t i = 0; i < count; ++i) found |= static_cast<T>((load<T>(data, i) & mask) == mask);
  for (std::int64_t i = 0; found != 0 && i < count; ++i)
    if ((load<T>(data, i) & mask) == mask) return i;
  return std::nullopt;
}

template <class T>
std::optional<PackFault> check_finite(const StoredMatrix& m, TileRows rows, T mask) {
  for (std::int64_t r = rows.first; r < rows.first + rows.count; ++r)
    if (const auto col =
            first_all_ones<T>(m.data.data() + static_cast<std::size_t>(r * m.cols) * sizeof(T), m.cols, mask))
      return PackFault{false, r, *col};
  return std::nullopt;
}

// Four bytes at `offset` of a row of `row_bytes`, zeros beyond its end.
std::uint32_t row_dword(const std::byte* row, std::int64_t offset, std::int64_t row_bytes) {
  std::uint32_t v = 0;
  std::memcpy(&v, row + offset, static_cast<std::size_t>(std::min<std::int64_t>(4, row_bytes - offset)));
  return v;
}

// Calls put(line, r, dword) for every dword of 16 rows, one 64-byte line of the tile after the other: each line is
// written once.
template <class Put>
void for_each_dword(const StoredMatrix& m, TileRows rows, std::int64_t element_bytes, std::byte* out, Put put) {
  const std::int64_t row_bytes = m.cols * element_bytes, whole = row_bytes / 4;
  const std::byte* first = m.data.data() + rows.first * row_bytes;
  for (std::int64_t q = 0; q < whole; ++q)
    for (std::int64_t r = 0; r < rows.count; ++r)
      put(out + q * 64, r, load<std::uint32_t>(first + r * row_bytes + q * 4, 0));
  for (std::int64_t r = 0; whole * 4 < row_bytes && r < rows.count; ++r)
    put(out + whole * 64, r, row_dword(first + r * row_bytes, whole * 4, row_bytes));
}

std::optional<PackFault> pack_fp8(const StoredMatrix& m, TileRows rows, std::byte* out, float* scales,
                                  std::int64_t run_bytes) {
  for (std::int64_t b = 0; b < ceil_div(m.cols, kScaleColumns); ++b) {
    scales[b] = fp8_scale(m, rows.first, b);
    if (!std::isfinite(scales[b])) return PackFault{true, rows.first, b * kScaleColumns};
  }
  if (auto fault = check_finite<std::uint8_t>(m, rows, kE4m3Nan)) return fault;
  if (rows.count < kTileRows || m.cols % kColumnPad != 0) std::memset(out, 0, static_cast<std::size_t>(run_bytes));
  for_each_dword(m, rows, 1, out, [](std::byte* line, std::int64_t r, std::uint32_t v) {
    std::byte* lane = line + r / 4 * 16 + r % 4 * 2;
    const auto low = static_cast<std::uint16_t>(v), high = static_cast<std::uint16_t>(v >> 16);
    std::memcpy(lane, &low, 2);
    std::memcpy(lane + 8, &high, 2);
  });
  return std::nullopt;
}

// One stored element with its scale, as float: exact except for E4M3 codes times F32 scales, which round once.
std::optional<float> plain_value(const StoredMatrix& m, std::int64_t r, std::int64_t c) {
  float v = 0;
  switch (m.dtype) {
    case DType::kBF16:
      v = bf16_to_float(load<std::uint16_t>(m.data.data(), r * m.cols + c));
      break;
    case DType::kF32:
      v = load<float>(m.data.data(), r * m.cols + c);
      break;
    case DType::kE4M3:
      v = static_cast<float>(static_cast<double>(e4m3_to_float(load<std::uint8_t>(m.data.data(), r * m.cols + c))) *
                             static_cast<double>(fp8_scale(m, r, c / m.block)));
      break;
    default:
      return std::nullopt;
  }
  if (!std::isfinite(v)) return std::nullopt;
  return v;
}

// BF16 and F32 as they are: a dword of a row, two columns or one, is a dword of the tile.
template <class T>
std::optional<PackFault> pack_same(const StoredMatrix& m, TileRows rows, T exponent_mask, std::byte* out) {
  if (auto fault = check_finite<T>(m, rows, exponent_mask)) return fault;
  for_each_dword(m, rows, sizeof(T), out,
                 [](std::byte* line, std::int64_t r, std::uint32_t v) { std::memcpy(line + r * 4, &v, 4); });
  return std::nullopt;
}

std::optional<PackFault> pack_converted(const StoredMatrix& m, TileRows rows, Encoding encoding, std::byte* out) {
  for (std::int64_t r = 0; r < rows.count; ++r)
    for (std::int64_t c = 0; c < m.cols; ++c) {
      const auto v = plain_value(m, rows.first + r, c);
      if (!v) return PackFault{false, rows.first + r, c};
      if (encoding == Encoding::kBf16) {
        const std::uint16_t bits = bf16_from_float(*v);
        std::memcpy(out + c / 2 * 64 + r * 4 + c % 2 * 2, &bits, 2);
      } else {
        std::memcpy(out + c * 64 + r * 4, &*v, 4);
      }
    }
  return std::nullopt;
}

std::optional<PackFault> pack_plain(const StoredMatrix& m, TileRows rows, Encoding encoding, std::byte* out,
                                    std::int64_t run_bytes) {
  if (rows.count < kTileRows || m.cols % kColumnPad != 0) std::memset(out, 0, static_cast<std::size_t>(run_bytes));
  if (m.dtype == DType::kBF16 && encoding == Encoding::kBf16) return pack_same<std::uint16_t>(m, rows, 0x7F80, out);
  if (m.dtype == DType::kF32 && encoding == Encoding::kF32) return pack_same<std::uint32_t>(m, rows, 0x7F800000, out);
  return pack_converted(m, rows, encoding, out);
}

// Some 16-row tile crosses from one scale block into the next.
bool tiles_straddle_blocks(const StoredMatrix& m) {
  for (std::int64_t tile = 0; tile < ceil_div(m.rows, kTileRows); ++tile) {
    const TileRows rows = rows_of(m, tile);
    if (rows.first / m.block != (rows.first + rows.count - 1) / m.block) return true;
  }
  return false;
}

}  // namespace

Encoding packed_encoding(const StoredMatrix& m) {
  switch (m.dtype) {
    case DType::kI8:
      return Encoding::kFp4;
    case DType::kBF16:
      return Encoding::kBf16;
    case DType::kE4M3:
      if (!tiles_straddle_blocks(m)) return Encoding::kFp8;
      return m.scale_dtype == DType::kF32 ? Encoding::kF32 : Encoding::kBf16;
    default:
      return Encoding::kF32;
  }
}

std::int64_t packed_tile_bytes(const StoredMatrix& m, Encoding encoding) {
  return PackedMatrix{encoding, m.rows, m.cols, nullptr, nullptr}.bytes();
}

std::int64_t packed_scale_count(const StoredMatrix& m, Encoding encoding) {
  const PackedMatrix shape{encoding, m.rows, m.cols, nullptr, nullptr};
  return encoding == Encoding::kFp8 ? shape.tile_count() * shape.scale_blocks() : 0;
}

std::optional<PackFault> pack_tile(const StoredMatrix& m, const PackedMatrix& out, std::int64_t tile) {
  const TileRows rows = rows_of(m, tile);
  const std::int64_t run_bytes = out.tile_run_bytes();
  std::byte* run = const_cast<std::byte*>(out.tiles) + tile * run_bytes;
  switch (out.encoding) {
    case Encoding::kFp4:
      return pack_fp4(m, rows, run);
    case Encoding::kFp8:
      return pack_fp8(m, rows, run, const_cast<float*>(out.scales) + tile * out.scale_blocks(), run_bytes);
    default:
      return pack_plain(m, rows, out.encoding, run, run_bytes);
  }
}

std::uint64_t packing_digest() {
  constexpr std::int64_t kRows = 40, kCols = 160, kBlock = 32;  // whole and short tiles, several scale blocks
  std::vector<std::byte> codes(kRows * kCols * 4), scales(kRows * kCols);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i * 37 % 120);  // finite in any form
  for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<std::byte>(120 + i % 11);
  std::vector<std::byte> all;
  for (const DType dtype : {DType::kI8, DType::kE4M3, DType::kBF16, DType::kF32}) {
    StoredMatrix m;
    m.dtype = dtype;
    m.data = codes;
    m.rows = kRows;
    m.cols = kCols;
    m.scales = scales;
    m.block = kBlock;
    const Encoding encoding = packed_encoding(m);
    std::vector<std::byte> tiles(static_cast<std::size_t>(packed_tile_bytes(m, encoding)));
    std::vector<float> factors(static_cast<std::size_t>(packed_scale_count(m, encoding)));
    const PackedMatrix out{encoding, kRows, kCols, tiles.data(), factors.data()};
    for (std::int64_t t = 0; t < out.tile_count(); ++t) (void)pack_tile(m, out, t);
    all.insert(all.end(), tiles.begin(), tiles.end());
    const Bytes factor_bytes = std::as_bytes(std::span(factors));
    all.insert(all.end(), factor_bytes.begin(), factor_bytes.end());
  }
  return XXH3_64bits(all.data(), all.size());
}

std::vector<double> unpack(const PackedMatrix& m) {
  std::vector<double> out(static_cast<std::size_t>(m.rows * m.cols));
  for (std::int64_t row = 0; row < m.rows; ++row) {
    const std::byte* run = m.tiles + row / kTileRows * m.tile_run_bytes();
    const std::int64_t r = row % kTileRows;
    for (std::int64_t c = 0; c < m.cols; ++c) {
      double v = 0;
      switch (m.encoding) {
        case Encoding::kFp4: {
          const std::byte* block = run + c / 32 * kFp4TileBytes;
          const std::int64_t k = c % 32;
          const auto code = load<std::uint8_t>(block, k / 8 * 64 + r * 4 + k % 4) >> (k / 4 % 2 * 4);
          v = static_cast<double>(e2m1_to_float(static_cast<std::uint8_t>(code))) *
              static_cast<double>(e8m0_to_float(load<std::uint8_t>(block, 256 + r)));
          break;
        }
        case Encoding::kFp8:
          v = static_cast<double>(
                  e4m3_to_float(load<std::uint8_t>(run, c / 4 * 64 + r / 4 * 16 + c % 4 / 2 * 8 + r % 4 * 2 + c % 2))) *
              static_cast<double>(m.scales[row / kTileRows * m.scale_blocks() + c / kScaleColumns]);
          break;
        case Encoding::kBf16:
          v = bf16_to_float(load<std::uint16_t>(run + c / 2 * 64, r * 2 + c % 2));
          break;
        case Encoding::kF32:
          v = load<float>(run + c * 64, r);
          break;
      }
      out[static_cast<std::size_t>(row * m.cols + c)] = v;
    }
  }
  return out;
}

}  // namespace hadal
