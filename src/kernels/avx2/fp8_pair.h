// Two blocks of FP8 weights against one token, 16 rows, as one loop in assembly.
//
// A chain of a block (kernels/kernels.h) depends on itself for eight cycles in every 64 bytes of weights, longer than
// memory takes to bring them; two blocks at once have eight chains that know nothing of each other. Those and three
// constants leave five registers, which GCC 12 does not manage without spilling chains to the stack.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace hadal {
namespace {

constexpr int kPairColumns = 256, kPairBytes = 4096;  // 16 rows of them

// Two columns of rows 0..7 and 8..15: v and w (ymm8, ymm9) hold a column each in their low and in their high words.
#define HADAL_FP8_COLUMN(unpack, x_at, low, high)      \
  "vbroadcastss " x_at "(%[x]), %%ymm10\n\t" unpack    \
  " %%ymm8, %%ymm12, %%ymm11\n\t"                      \
  "vfmadd231ps %%ymm10, %%ymm11, %%" low "\n\t" unpack \
  " %%ymm9, %%ymm12, %%ymm11\n\t"                      \
  "vfmadd231ps %%ymm10, %%ymm11, %%" high "\n\t"

// Four columns at p_at (p_high: rows 8..15) and x0..x3: odd ones first. fp8_products.cc says how a byte becomes a
// float.
#define HADAL_FP8_COLUMNS(p_at, p_high, x0, x1, x2, x3, c_low, d_low, c_high, d_high)                         \
  "vmovdqu " p_at                                                                                             \
  "(%[p]), %%ymm8\n\t"                                                                                        \
  "vmovdqu " p_high                                                                                           \
  "(%[p]), %%ymm9\n\t"                                                                                        \
  "vpsraw $4, %%ymm8, %%ymm8\n\t"                                                                             \
  "vpsraw $4, %%ymm9, %%ymm9\n\t"                                                                             \
  "vpand %%ymm13, %%ymm8, %%ymm8\n\t"                                                                         \
  "vpand %%ymm13, %%ymm9, %%ymm9\n\t" HADAL_FP8_COLUMN("vpunpcklwd", x1, c_low, c_high)                       \
      HADAL_FP8_COLUMN("vpunpckhwd", x3, d_low, d_high) "vpmaddubsw " p_at                                    \
                                                        "(%[p]), %%ymm14, %%ymm8\n\t"                         \
                                                        "vpmaddubsw " p_high                                  \
                                                        "(%[p]), %%ymm14, %%ymm9\n\t"                         \
                                                        "vpand %%ymm13, %%ymm8, %%ymm8\n\t"                   \
                                                        "vpand %%ymm13, %%ymm9, %%ymm9\n\t" HADAL_FP8_COLUMN( \
                                                            "vpunpcklwd", x0, c_low, c_high)                  \
                                                            HADAL_FP8_COLUMN("vpunpckhwd", x2, d_low, d_high)

// p: kPairBytes of a tile's run; x: kPairColumns activations. sums: of each block, c and d of rows
// 0..7, then of rows 8..15. Both blocks are fetched `ahead` bytes before their use and in the order of memory: fetched
// in the order of use, two runs 2 KiB apart, they halve the rate of memory.
inline void two_blocks(const std::byte* p, const float* x, std::ptrdiff_t ahead, __m256 (&sums)[8]) {
  const __m256i constants[] = {_mm256_set1_epi16(static_cast<short>(0x87f0)), _mm256_set1_epi16(16)};
  const std::byte* fetch = p + ahead;
  int left = 32;  // steps of four columns of each block
  asm volatile(
      "vpxor %%xmm12, %%xmm12, %%xmm12\n\t"
      "vmovdqa (%[constants]), %%ymm13\n\t"
      "vmovdqa 32(%[constants]), %%ymm14\n\t"
      "vxorps %%xmm0, %%xmm0, %%xmm0\n\t"
      "vxorps %%xmm1, %%xmm1, %%xmm1\n\t"
      "vxorps %%xmm2, %%xmm2, %%xmm2\n\t"
      "vxorps %%xmm3, %%xmm3, %%xmm3\n\t"
      "vxorps %%xmm4, %%xmm4, %%xmm4\n\t"
      "vxorps %%xmm5, %%xmm5, %%xmm5\n\t"
      "vxorps %%xmm6, %%xmm6, %%xmm6\n\t"
      "vxorps %%xmm7, %%xmm7, %%xmm7\n\t"
      ".p2align 5\n"
      "1:\n\t"
      "prefetcht0 (%[fetch])\n\t"
      "prefetcht0 64(%[fetch])\n\t"                                                                  //
      HADAL_FP8_COLUMNS("0", "32", "0", "4", "8", "12", "ymm0", "ymm1", "ymm2", "ymm3")              //
      HADAL_FP8_COLUMNS("2048", "2080", "512", "516", "520", "524", "ymm4", "ymm5", "ymm6", "ymm7")  //
      "add $64, %[p]\n\t"
      "add $16, %[x]\n\t"
      "add $128, %[fetch]\n\t"
      "dec %[left]\n\t"
      "jnz 1b\n\t"
      "vmovaps %%ymm0, (%[sums])\n\t"
      "vmovaps %%ymm1, 32(%[sums])\n\t"
      "vmovaps %%ymm2, 64(%[sums])\n\t"
      "vmovaps %%ymm3, 96(%[sums])\n\t"
      "vmovaps %%ymm4, 128(%[sums])\n\t"
      "vmovaps %%ymm5, 160(%[sums])\n\t"
      "vmovaps %%ymm6, 192(%[sums])\n\t"
      "vmovaps %%ymm7, 224(%[sums])\n\t"
      : [p] "+r"(p), [x] "+r"(x), [fetch] "+r"(fetch), [left] "+r"(left)
      : [sums] "r"(sums), [constants] "r"(constants)
      : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14");
}

#undef HADAL_FP8_COLUMN
#undef HADAL_FP8_COLUMNS

}  // namespace
}  // namespace hadal
