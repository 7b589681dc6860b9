// Weight matrices as kernels read them: tiles of 16 output rows, lanes = rows, made by one repack at load.
//
// y = W x, W is [rows, cols]. Rows are padded to 16 and columns to 32 with zeros. For every encoding the tiles of one
// row group follow each other along the columns, so a kernel streams one contiguous run per 16 rows.
//
//   kFp4   272 bytes per 16 x 32: 256 bytes of nibbles, then 16 E8M0 scale bytes (one per row).
//          Byte (g, row, b) at g*64 + row*4 + b, g = 0..3, b = 0..3, holds column 8g+b in the low nibble and column
//          8g+4+b in the high nibble: a dword is four consecutive columns of one row, as an int8 dot product wants it.
//   kFp8   64 bytes per 16 x 4: E4M3 bytes ordered so that a byte unpack (low, high half of each 128-bit lane) yields
//          column pairs per row: byte (lane, half, r, c) at lane*16 + half*8 + r*2 + c is row 4*lane+r, column
//          2*half+c. Scales: one float per (16-row tile, 128 columns), `scales[tile * ceil(cols/128) + block]`.
//   kBf16  64 bytes per 16 x 2: word (row, c) at row*4 + c*2.
//   kF32   64 bytes per 16 x 1: float (row).
//
// Accumulation is part of the definition (kernels/kernels.h): blocks of columns, kFp4 32, others 128, ascending.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hadal {

enum class Encoding : std::uint8_t { kFp4, kFp8, kBf16, kF32 };

constexpr std::int64_t kTileRows = 16;   // one AVX-512 register of float32 lanes
constexpr std::int64_t kColumnPad = 32;  // one FP4 scale block
constexpr std::int64_t kFp4TileBytes = 272;

// A view; the owner is weights/model_weights.h or a test's buffer. `tiles` is 64-byte aligned except that FP4 runs
// follow each other at 272-byte steps.
struct PackedMatrix {
  Encoding encoding = Encoding::kF32;
  std::int64_t rows = 0, cols = 0;  // logical
  const std::byte* tiles = nullptr;
  const float* scales = nullptr;  // kFp8 only

  std::int64_t tile_count() const { return (rows + kTileRows - 1) / kTileRows; }
  std::int64_t padded_cols() const { return (cols + kColumnPad - 1) / kColumnPad * kColumnPad; }
  std::int64_t scale_blocks() const { return (cols + 127) / 128; }  // kFp8, per tile
  std::int64_t tile_run_bytes() const {                             // bytes of 16 rows, all columns
    switch (encoding) {
      case Encoding::kFp4:
        return padded_cols() / 32 * kFp4TileBytes;
      case Encoding::kFp8:
        return padded_cols() * 16;
      case Encoding::kBf16:
        return padded_cols() * 32;
      case Encoding::kF32:
        return padded_cols() * 64;
    }
    return 0;
  }
  std::int64_t bytes() const { return tile_count() * tile_run_bytes(); }
};

}  // namespace hadal
