// kFp8 weights times bfloat16 activations.
#pragma once

#include "kernels/kernels.h"

namespace hadal::avx2 {

// Computes tokens [first, first + n) of a group of m, n at most kFp8Tokens, against tiles [tile_begin, tile_end).
// `group` is the group's data, y row 0 of its token 0. False, and nothing is written, when an activation is larger than
// 2^21 or the matrix wider than the kernel's buffer: the caller then takes the general form, which gives the same bits.
constexpr int kFp8Tokens = 4;
bool multiply_fp8(const PackedMatrix& w, std::int64_t tile_begin, std::int64_t tile_end, const std::byte* group,
                  std::int64_t m, std::int64_t first, std::int64_t n, float* y, std::int64_t y_stride);

}  // namespace hadal::avx2
