// Repacking a stored matrix into the tiles of packed_matrix.h. Pure functions, one tile run (16 rows, all columns) at a
// time, so that loading spreads over threads and the result depends on nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/span.h"
#include "files/safetensors.h"  // DType
#include "weights/packed_matrix.h"

namespace hadal {

// Rows [first_row, first_row + rows) of a matrix as the checkpoint stores it, and its scale grid. `data` and `scales`
// cover the whole stored matrix: a scale block belongs to absolute rows, so a group of wo_a finds its own.
struct StoredMatrix {
  DType dtype = DType::kF32;  // kI8 (two E2M1), kE4M3, kBF16, kF32
  Bytes data;
  std::int64_t first_row = 0, rows = 0, cols = 0;  // logical columns
  DType scale_dtype = DType::kE8M0;                // or kF32
  Bytes scales;              // kI8: [all rows, ceil(cols/32)]; kE4M3: [ceil(all rows/block), ceil(cols/block)]
  std::int64_t block = 128;  // rows and columns of an FP8 scale block
};

// The encoding `m` packs to: kI8 kFp4, kE4M3 kFp8, kBF16 kBf16, kF32 kF32. kFp8 holds one scale per 16-row tile; where
// a scale block ends inside a tile (wo_a groups of o_lora_rank not a multiple of 16; no release has that) the values go
// to kBf16, which is exact for power-of-two scales, or with F32 scales to kF32, rounded once.
Encoding packed_encoding(const StoredMatrix& m);

// Bytes of tiles and floats of scales that packing `m` as `encoding` fills.
std::int64_t packed_tile_bytes(const StoredMatrix& m, Encoding encoding);
std::int64_t packed_scale_count(const StoredMatrix& m, Encoding encoding);

// Where packing met a value that is not a finite number. Row and column are absolute in the stored matrix.
struct PackFault {
  bool in_scale = false;
  std::int64_t row = 0, col = 0;
};

// Fills tile run `tile`: tile_run_bytes() at `tiles` + tile * tile_run_bytes(), and its scales likewise. `out`
// describes the target; its pointers are to writable memory of the sizes above.
std::optional<PackFault> pack_tile(const StoredMatrix& m, const PackedMatrix& out, std::int64_t tile);

// XXH3-64 of small matrices of every stored form, packed: it changes when the tiles do.
std::uint64_t packing_digest();

// The exact values of a packed matrix, row-major; for tests and diagnostics.
std::vector<double> unpack(const PackedMatrix& m);

}  // namespace hadal
