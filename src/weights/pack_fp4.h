// Whole FP4 tiles from rows as the checkpoint stores them: 16 rows, columns a multiple of 32. Experts that come from
// disk in the middle of a step are packed on the way, so there is a version for each instruction set; all give the
// same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hadal {

struct Fp4Rows {
  const std::byte* data = nullptr;    // row r at r * cols/2, two codes a byte
  const std::byte* scales = nullptr;  // row r at r * cols/32, one E8M0 each
  std::int64_t cols = 0;
  std::int64_t rows_after = 0;  // rows of the same matrix that follow these 16: worth having in the cache soon
};

// Fills cols/32 tiles of 272 bytes (weights/packed_matrix.h). Gives column block * 16 + row of the first scale that is
// NaN, by block and then by row, or -1.
using PackFp4 = std::int64_t (*)(const Fp4Rows& rows, std::byte* out);

struct Fp4Packer {
  const char* name;
  PackFp4 pack;
};
// Those this processor runs, the fastest last; the first runs everywhere.
const std::vector<Fp4Packer>& fp4_packers();

}  // namespace hadal
