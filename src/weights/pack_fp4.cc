#include "weights/pack_fp4.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "weights/packed_matrix.h"

namespace hadal {
namespace {

constexpr std::int64_t kBlockBytes = 16;  // 32 columns of a row
constexpr std::int64_t kLineBlocks = 4;   // of one cache line, which is used up before the next one is fetched

// The same bytes of the rows 16 further down: the next run of tiles. Rows are too short for the processor to see
// streams.
void prefetch_next(const Fp4Rows& m, std::int64_t row, std::int64_t block) {
  if (m.rows_after < kTileRows) return;
  _mm_prefetch(reinterpret_cast<const char*>(m.data + (row + kTileRows) * (m.cols / 2) + block * kBlockBytes),
               _MM_HINT_T1);
}

// The scale bytes of one block, a byte a row; the first row whose scale is NaN, or -1.
std::int64_t pack_scales(const Fp4Rows& m, std::int64_t block, std::byte* tile) {
  std::byte* to = tile + 256;
  const std::int64_t blocks = m.cols / 32;
  for (std::int64_t r = 0; r < kTileRows; ++r) to[r] = m.scales[r * blocks + block];
  const __m128i nan = _mm_cmpeq_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(to)), _mm_set1_epi8(-1));
  const int mask = _mm_movemask_epi8(nan);
  return mask == 0 ? -1 : std::countr_zero(static_cast<unsigned>(mask));
}

// The 32 columns of a row: every dword holds eight columns i0..i7 in ascending nibbles and becomes i0 i4, i1 i5, i2 i6,
// i3 i7. x86-64-v2, the baseline, has SSSE3.
__m128i regroup(__m128i v) {
  // Words of bytes 0 0 | 1 1 and 2 2 | 3 3 of every dword.
  const __m128i a = _mm_shuffle_epi8(v, _mm_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13));
  const __m128i b = _mm_shuffle_epi8(v, _mm_setr_epi8(2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15));
  const __m128i low = _mm_or_si128(_mm_and_si128(a, _mm_set1_epi16(0x000F)),
                                   _mm_and_si128(_mm_slli_epi16(b, 4), _mm_set1_epi16(0x00F0)));
  const __m128i high = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(a, 4), _mm_set1_epi16(0x0F00)),
                                    _mm_and_si128(b, _mm_set1_epi16(static_cast<short>(0xF000))));
  return _mm_or_si128(low, high);
}

// Four rows of a block: a 4 x 4 transposition of dwords.
void regroup_rows(const std::byte* in, std::int64_t row_bytes, std::byte* out) {
  const auto row = [&](std::int64_t r) {
    return regroup(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + r * row_bytes)));
  };
  const __m128i r0 = row(0), r1 = row(1), r2 = row(2), r3 = row(3);
  const __m128i t0 = _mm_unpacklo_epi32(r0, r1), t1 = _mm_unpacklo_epi32(r2, r3);
  const __m128i t2 = _mm_unpackhi_epi32(r0, r1), t3 = _mm_unpackhi_epi32(r2, r3);
  auto* line = reinterpret_cast<__m128i*>(out);
  _mm_storeu_si128(line, _mm_unpacklo_epi64(t0, t1));
  _mm_storeu_si128(line + 4, _mm_unpackhi_epi64(t0, t1));
  _mm_storeu_si128(line + 8, _mm_unpacklo_epi64(t2, t3));
  _mm_storeu_si128(line + 12, _mm_unpackhi_epi64(t2, t3));
}

// Blocks [first, last).
std::int64_t pack_blocks(const Fp4Rows& m, std::int64_t first, std::int64_t last, std::byte* out) {
  const std::int64_t row_bytes = m.cols / 2;
  for (std::int64_t at = first; at < last; at += kLineBlocks) {
    const std::int64_t end = std::min(at + kLineBlocks, last);
    for (std::int64_t r = 0; r < kTileRows; r += 4) {
      for (std::int64_t i = 0; i < 4; ++i) prefetch_next(m, r + i, at);
      for (std::int64_t b = at; b < end; ++b)
        regroup_rows(m.data + r * row_bytes + b * kBlockBytes, row_bytes, out + b * kFp4TileBytes + 4 * r);
    }
    for (std::int64_t b = at; b < end; ++b)
      if (const std::int64_t bad = pack_scales(m, b, out + b * kFp4TileBytes); bad >= 0) return b * kTileRows + bad;
  }
  return -1;
}

std::int64_t pack_baseline(const Fp4Rows& m, std::byte* out) { return pack_blocks(m, 0, m.cols / 32, out); }

// The baseline on two blocks at once, one in each half of a register.
[[gnu::target("avx2")]] __m256i regroup2(const std::byte* in) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
  const __m256i a = _mm256_shuffle_epi8(
      v, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13)));
  const __m256i b = _mm256_shuffle_epi8(
      v, _mm256_broadcastsi128_si256(_mm_setr_epi8(2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15)));
  const __m256i low = _mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi16(0x000F)),
                                      _mm256_and_si256(_mm256_slli_epi16(b, 4), _mm256_set1_epi16(0x00F0)));
  const __m256i high = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 4), _mm256_set1_epi16(0x0F00)),
                                       _mm256_and_si256(b, _mm256_set1_epi16(static_cast<short>(0xF000))));
  return _mm256_or_si256(low, high);
}

[[gnu::target("avx2")]] void put_halves(__m256i v, std::byte* out) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(v));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + kFp4TileBytes), _mm256_extracti128_si256(v, 1));
}

[[gnu::target("avx2")]] std::int64_t pack_avx2(const Fp4Rows& m, std::byte* out) {
  const std::int64_t blocks = m.cols / 32, whole = blocks / kLineBlocks * kLineBlocks, row_bytes = m.cols / 2;
  for (std::int64_t at = 0; at < whole; at += kLineBlocks) {
    for (std::int64_t r = 0; r < kTileRows; r += 4) {
      for (std::int64_t i = 0; i < 4; ++i) prefetch_next(m, r + i, at);
      for (std::int64_t b = at; b < at + kLineBlocks; b += 2) {
        const std::byte* in = m.data + r * row_bytes + b * kBlockBytes;
        std::byte* to = out + b * kFp4TileBytes + 4 * r;
        const __m256i r0 = regroup2(in), r1 = regroup2(in + row_bytes);
        const __m256i r2 = regroup2(in + 2 * row_bytes), r3 = regroup2(in + 3 * row_bytes);
        const __m256i t0 = _mm256_unpacklo_epi32(r0, r1), t1 = _mm256_unpacklo_epi32(r2, r3);
        const __m256i t2 = _mm256_unpackhi_epi32(r0, r1), t3 = _mm256_unpackhi_epi32(r2, r3);
        put_halves(_mm256_unpacklo_epi64(t0, t1), to);
        put_halves(_mm256_unpackhi_epi64(t0, t1), to + 64);
        put_halves(_mm256_unpacklo_epi64(t2, t3), to + 128);
        put_halves(_mm256_unpackhi_epi64(t2, t3), to + 192);
      }
    }
    for (std::int64_t b = at; b < at + kLineBlocks; ++b)
      if (const std::int64_t bad = pack_scales(m, b, out + b * kFp4TileBytes); bad >= 0) return b * kTileRows + bad;
  }
  return pack_blocks(m, whole, blocks, out);
}

#define HADAL_VBMI gnu::target("avx512f,avx512bw,avx512vbmi")

// 128 columns of a row. Bytes from any bit of a quadword: nibbles i0..i3 of a dword come low and i4..i7 high.
[[HADAL_VBMI]] inline __m512i regroup4(const std::byte* in, __m512i low_from, __m512i high_from) {
  const __m512i v = _mm512_loadu_si512(in);
  const __m512i low = _mm512_multishift_epi64_epi8(low_from, v), high = _mm512_multishift_epi64_epi8(high_from, v);
  return _mm512_ternarylogic_epi32(_mm512_set1_epi8(0x0F), low, high, 0xCA);  // mask ? low : high
}

constexpr std::int64_t kGroupBytes = kLineBlocks * kFp4TileBytes;  // 17 cache lines

// Past the cache where the lines are whole: a matrix does not fit there, and reading what is about to be overwritten
// took a third of the time.
[[HADAL_VBMI]] inline void put_group(const std::byte* group, std::byte* out) {
  if (reinterpret_cast<std::uintptr_t>(out) % 64 != 0) {
    std::memcpy(out, group, kGroupBytes);
    return;
  }
  for (std::int64_t i = 0; i < kGroupBytes; i += 64)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(out + i), _mm512_load_si512(group + i));
}

// Four blocks: 16 rows of 16 dwords, transposed, are the 16 lines of four tiles.
[[HADAL_VBMI]] inline void pack_group(const std::byte* in, std::int64_t row_bytes, std::byte* out) {
  // Bit offsets in a quadword: nibbles 0, 1, 2, 3 of each dword, and 4, 5, 6, 7 less the four bits below them.
  const __m512i low_from = _mm512_set1_epi64(0x2C2824200C080400), high_from = _mm512_set1_epi64(0x3834302C1814100C);
  __m512i r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = regroup4(in + i * row_bytes, low_from, high_from);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {  // r[i + g]: dword g of rows i .. i+3, of each of the four blocks
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int g = 0; g < 4; ++g, out += 64) {
    const __m512i a = _mm512_shuffle_i32x4(r[g], r[4 + g], 0x44), b = _mm512_shuffle_i32x4(r[8 + g], r[12 + g], 0x44);
    const __m512i c = _mm512_shuffle_i32x4(r[g], r[4 + g], 0xEE), d = _mm512_shuffle_i32x4(r[8 + g], r[12 + g], 0xEE);
    _mm512_storeu_si512(out, _mm512_shuffle_i32x4(a, b, 0x88));
    _mm512_storeu_si512(out + kFp4TileBytes, _mm512_shuffle_i32x4(a, b, 0xDD));
    _mm512_storeu_si512(out + 2 * kFp4TileBytes, _mm512_shuffle_i32x4(c, d, 0x88));
    _mm512_storeu_si512(out + 3 * kFp4TileBytes, _mm512_shuffle_i32x4(c, d, 0xDD));
  }
}

// The scales of four blocks; column block * 16 + row of the first NaN counted from them, or -1.
[[HADAL_VBMI]] inline std::int64_t pack_group_scales(const std::byte* in, std::int64_t blocks, std::byte* out) {
  alignas(64) static constexpr std::uint8_t kByBlock[64] = {
      // byte b of row r to byte r of block b
      0,  4,  8,  12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 1,  5,  9,  13, 17, 21,
      25, 29, 33, 37, 41, 45, 49, 53, 57, 61, 2,  6,  10, 14, 18, 22, 26, 30, 34, 38, 42, 46,
      50, 54, 58, 62, 3,  7,  11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59, 63};
  alignas(64) std::uint32_t rows[16];
  for (std::int64_t r = 0; r < kTileRows; ++r) std::memcpy(&rows[r], in + r * blocks, sizeof rows[r]);
  const __m512i scales = _mm512_permutexvar_epi8(_mm512_load_si512(kByBlock), _mm512_load_si512(rows));
  const auto put = [&](int block, __m128i v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + block * kFp4TileBytes + 256), v);
  };
  put(0, _mm512_castsi512_si128(scales));
  put(1, _mm512_extracti32x4_epi32(scales, 1));
  put(2, _mm512_extracti32x4_epi32(scales, 2));
  put(3, _mm512_extracti32x4_epi32(scales, 3));
  const std::uint64_t nan = _mm512_cmpeq_epi8_mask(scales, _mm512_set1_epi8(-1));
  return nan == 0 ? -1 : std::countr_zero(nan);
}

[[HADAL_VBMI]] std::int64_t pack_avx512(const Fp4Rows& m, std::byte* out) {
  const std::int64_t blocks = m.cols / 32, groups = blocks / kLineBlocks, row_bytes = m.cols / 2;
  const std::byte* next = m.data + kTileRows * row_bytes;  // the next 16 rows, in the order they lie in memory
  // Two, so that a group is not read back while its odd stores are on their way.
  alignas(64) std::byte group[2][kGroupBytes];
  for (std::int64_t g = 0; g < groups; ++g) {
    if (m.rows_after >= kTileRows)
      for (std::int64_t i = 0; i < 16; ++i)
        _mm_prefetch(reinterpret_cast<const char*>(next + (g * 16 + i) * 64), _MM_HINT_T1);
    std::byte* to = group[g % 2];
    pack_group(m.data + g * kLineBlocks * kBlockBytes, row_bytes, to);
    const std::int64_t bad = pack_group_scales(m.scales + g * kLineBlocks, blocks, to);
    if (bad >= 0) return g * kLineBlocks * kTileRows + bad;
    if (g > 0) put_group(group[(g - 1) % 2], out + (g - 1) * kGroupBytes);
  }
  if (groups > 0) put_group(group[(groups - 1) % 2], out + (groups - 1) * kGroupBytes);
  _mm_sfence();
  return pack_blocks(m, groups * kLineBlocks, blocks, out);
}

}  // namespace

const std::vector<Fp4Packer>& fp4_packers() {
  static const std::vector<Fp4Packer> packers = [] {
    std::vector<Fp4Packer> all = {{"baseline", pack_baseline}};
    if (__builtin_cpu_supports("avx2")) all.push_back({"avx2", pack_avx2});
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi"))
      all.push_back({"avx512", pack_avx512});
    return all;
  }();
  return packers;
}

}  // namespace hadal
