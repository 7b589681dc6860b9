// Products on 512-bit registers: a register is 16 rows, activations are 4-byte broadcast operands, accumulators stay in
// registers. Loops over tokens are fold expressions because GCC keeps an array indexed by a loop variable in memory.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "kernels/avx512/e4m3_table.h"
#include "kernels/avx512/lanes.h"
#include "kernels/families.h"
#include "kernels/generic/pack.h"

namespace hadal {
namespace {

// Bytes read ahead of the weight stream. 4 KiB was the best of 1, 2, 4 and 8 on Zen 4; the odd 256 keep it off a page
// edge.
constexpr int kAhead = 4352;

__m512i load(const void* p) { return _mm512_loadu_si512(p); }
void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p) + kAhead, _MM_HINT_T0); }
__m512bh as_bf16(__m512i v) { return reinterpret_cast<__m512bh>(v); }

// The dot product of bfloat16 pairs, odd element first: one instruction, or two fused steps on float32 activations.
struct Bf16Dot {
  using Word = std::uint32_t;       // a pair
  static constexpr int kWords = 1;  // activation words per column pair and token
  static __m512 step(__m512 acc, __m512i pairs, const Word* x, int) {
    return _mm512_dpbf16_ps(acc, as_bf16(pairs), as_bf16(_mm512_set1_epi32(static_cast<int>(*x))));
  }
};
struct F32Dot {
  using Word = float;
  static constexpr int kWords = 2;
  static __m512 step(__m512 acc, __m512i pairs, const Word* x, int m) {
    __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(INT32_C(-65536))));
    __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    acc = _mm512_fmadd_ps(odd, _mm512_set1_ps(x[m]), acc);
    return _mm512_fmadd_ps(even, _mm512_set1_ps(x[0]), acc);
  }
};

// Decoders give bfloat16 column pairs of 16 rows, kPairs of them from kBytes bytes.
struct Fp4Pairs {
  static constexpr int kPairs = 4, kBytes = 64, kBlock = 32, kTail = 16;  // 16 scale bytes end a block
  // Index = low 5 bits of a word, so the 16 values stand twice and nothing needs masking.
  const __m512i table = _mm512_broadcast_i64x4(_mm256_setr_epi16(
      0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, static_cast<short>(0x8000),
      static_cast<short>(0xbf00), static_cast<short>(0xbf80), static_cast<short>(0xbfc0), static_cast<short>(0xc000),
      static_cast<short>(0xc040), static_cast<short>(0xc080), static_cast<short>(0xc0c0)));
  // Bytes 0 1 2 3 (columns b, b+4) to 0 2 1 3: then shifts by 0, 4, 8, 12 bring a pair to the low nibbles of both
  // words.
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));

  void operator()(const std::byte* p, __m512i* out) const {
    __m512i q = _mm512_shuffle_epi8(load(p), order);
    out[0] = _mm512_permutexvar_epi16(q, table);
    out[1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(q, 8), table);
    out[2] = _mm512_permutexvar_epi16(_mm512_srli_epi16(q, 4), table);
    out[3] = _mm512_permutexvar_epi16(_mm512_srli_epi16(q, 12), table);
  }
  static __m512 scale(const PackedMatrix&, std::int64_t, std::int64_t, const std::byte* tail) {
    __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tail));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes), 23));
  }
};

struct Fp8Pairs {
  static constexpr int kPairs = 2, kBytes = 64, kBlock = 128, kTail = 0;
  const __m512i h0 = load(kE4m3.high), h1 = load(kE4m3.high + 64), l0 = load(kE4m3.low), l1 = load(kE4m3.low + 64);
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));

  void operator()(const std::byte* p, __m512i* out) const {
    __m512i q = load(p);
    __m512i high = _mm512_permutex2var_epi8(h0, q, h1), low = _mm512_permutex2var_epi8(l0, q, l1);
    high = _mm512_ternarylogic_epi32(high, q, sign, 0xf8);  // high | (q & sign)
    out[0] = _mm512_unpacklo_epi8(low, high);
    out[1] = _mm512_unpackhi_epi8(low, high);
  }
  static __m512 scale(const PackedMatrix& w, std::int64_t tile, std::int64_t block, const std::byte*) {
    return _mm512_set1_ps(w.scales[tile * w.scale_blocks() + block]);
  }
};

struct Bf16Pairs {
  static constexpr int kPairs = 2, kBytes = 128, kBlock = 128, kTail = 0;
  void operator()(const std::byte* p, __m512i* out) const {
    out[0] = load(p);
    out[1] = load(p + 64);
  }
  static __m512 scale(const PackedMatrix&, std::int64_t, std::int64_t, const std::byte*) {
    return _mm512_set1_ps(1.0f);
  }
};

template <int... T>
void store_group(std::integer_sequence<int, T...>, const __m512* f, std::int64_t rows, float* y,
                 std::int64_t y_stride) {
  (Lanes::store(y + T * y_stride, f[T], rows), ...);
}

// Two blocks against one token: with one, a chain waits for itself longer than memory takes to bring 64 bytes of FP8.
// Both are fetched in the order of memory: in the order of use, two runs 2 KiB apart, they halve its rate.
template <class Pairs, class Dot>
void two_blocks(const Pairs& pairs, const std::byte* p, const typename Dot::Word* x, __m512* sums) {
  constexpr int kSteps = Pairs::kBlock / (2 * Pairs::kPairs), kWords = Dot::kWords;
  constexpr int kBlockWords = Pairs::kBlock / 2 * kWords, kBlockBytes = kSteps * Pairs::kBytes;
  __m512 c[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, d[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  // Measured on Zen 4, of a plain read: 0.93; nearer by 2 KiB or unrolled, which moves the fetches together, 0.75 to
  // 0.87.
  const std::byte* fetch = p + 2048;
#pragma GCC unroll 1
  for (int i = 0; i < kSteps; ++i, p += Pairs::kBytes, x += 2 * kWords, fetch += 2 * Pairs::kBytes) {
    for (int ahead = 0; ahead < 2 * Pairs::kBytes; ahead += 64) prefetch(fetch + ahead);
    for (int b = 0; b < 2; ++b) {
      __m512i v[Pairs::kPairs];
      pairs(p + b * kBlockBytes, v);
      c[b] = Dot::step(c[b], v[0], x + b * kBlockWords, 1);
      d[b] = Dot::step(d[b], v[1], x + b * kBlockWords + kWords, 1);
    }
  }
  for (int b = 0; b < 2; ++b) sums[b] = _mm512_add_ps(c[b], d[b]);
}

// One 16-row tile run times m = sizeof...(T) tokens, by chains of column pairs.
template <class Pairs, class Dot, int... T>
void pairs_tile(std::integer_sequence<int, T...> tokens, const PackedMatrix& w, std::int64_t tile,
                const std::byte* data, float* y, std::int64_t y_stride) {
  constexpr int m = sizeof...(T), kStep = Pairs::kPairs * Dot::kWords * m;
  const Pairs pairs;
  const std::byte* p = w.tiles + tile * w.tile_run_bytes();
  const auto* x = reinterpret_cast<const typename Dot::Word*>(data);
  __m512 f[m] = {((void)T, _mm512_setzero_ps())...};
  std::int64_t block = 0, left = w.padded_cols();
  if constexpr (m == 1 && std::is_same_v<Pairs, Fp8Pairs>) {
    for (; left >= 2 * Pairs::kBlock;
         left -= 2 * Pairs::kBlock, p += 2 * 16 * Pairs::kBlock, x += Dot::kWords * Pairs::kBlock) {
      __m512 sums[2];
      two_blocks<Pairs, Dot>(pairs, p, x, sums);
      for (int b = 0; b < 2; ++b, ++block) f[0] = _mm512_fmadd_ps(sums[b], Pairs::scale(w, tile, block, p), f[0]);
    }
  }
  for (; left > 0; left -= Pairs::kBlock, ++block, p += Pairs::kTail) {
    __m512 c[m] = {((void)T, _mm512_setzero_ps())...}, d[m] = {((void)T, _mm512_setzero_ps())...};
    const int steps = static_cast<int>(left < Pairs::kBlock ? left : Pairs::kBlock) / (2 * Pairs::kPairs);
#pragma GCC unroll 4
    for (int i = 0; i < steps; ++i, p += Pairs::kBytes, x += kStep) {
      __m512i v[Pairs::kPairs];
      for (int ahead = 0; ahead < Pairs::kBytes; ahead += 64) prefetch(p + ahead);
      pairs(p, v);
      ((c[T] = Dot::step(c[T], v[0], x + T, m)), ...);
      ((d[T] = Dot::step(d[T], v[1], x + Dot::kWords * m + T, m)), ...);
      if constexpr (Pairs::kPairs == 4) {
        ((c[T] = Dot::step(c[T], v[2], x + 2 * Dot::kWords * m + T, m)), ...);
        ((d[T] = Dot::step(d[T], v[3], x + 3 * Dot::kWords * m + T, m)), ...);
      }
    }
    const __m512 scale = Pairs::scale(w, tile, block, p);
    ((f[T] = _mm512_fmadd_ps(_mm512_add_ps(c[T], d[T]), scale, f[T])), ...);
  }
  store_group(tokens, f, w.rows - tile * kTileRows, y + tile * kTileRows, y_stride);
}

// kF32 weights: a column is a register already; a pair is two of them.
template <int... T>
void f32_tile(std::integer_sequence<int, T...> tokens, const PackedMatrix& w, std::int64_t tile, const std::byte* data,
              float* y, std::int64_t y_stride) {
  constexpr int m = sizeof...(T);
  const auto* p = reinterpret_cast<const float*>(w.tiles + tile * w.tile_run_bytes());
  const auto* x = reinterpret_cast<const float*>(data);
  __m512 f[m] = {((void)T, _mm512_setzero_ps())...};
  for (std::int64_t left = w.padded_cols(); left > 0; left -= 128) {
    __m512 c[m] = {((void)T, _mm512_setzero_ps())...}, d[m] = {((void)T, _mm512_setzero_ps())...};
    for (std::int64_t i = left < 128 ? left : 128; i > 0; i -= 4, p += 64, x += 4 * m) {
      for (int ahead = 0; ahead < 256; ahead += 64) prefetch(reinterpret_cast<const std::byte*>(p) + ahead);
      __m512 w0 = Lanes::load(p), w1 = Lanes::load(p + 16), w2 = Lanes::load(p + 32), w3 = Lanes::load(p + 48);
      ((c[T] = _mm512_fmadd_ps(w1, _mm512_set1_ps(x[m + T]), c[T])), ...);
      ((d[T] = _mm512_fmadd_ps(w3, _mm512_set1_ps(x[3 * m + T]), d[T])), ...);
      ((c[T] = _mm512_fmadd_ps(w0, _mm512_set1_ps(x[T]), c[T])), ...);
      ((d[T] = _mm512_fmadd_ps(w2, _mm512_set1_ps(x[2 * m + T]), d[T])), ...);
    }
    ((f[T] = _mm512_add_ps(_mm512_add_ps(c[T], d[T]), f[T])), ...);
  }
  store_group(tokens, f, w.rows - tile * kTileRows, y + tile * kTileRows, y_stride);
}

// kFp4 by int8: nibbles become 2w + 12 (0..24), the accumulator starts at -12 * sum(x).
template <int... T>
void int8_tile(std::integer_sequence<int, T...> tokens, const PackedMatrix& w, std::int64_t tile, const std::byte* data,
               float* y, std::int64_t y_stride) {
  constexpr int m = sizeof...(T);
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m128i least = _mm_set1_epi8(static_cast<char>(kInt8MinScale)),
                most = _mm_set1_epi8(static_cast<char>(kInt8MaxScale));
  const std::byte* p = w.tiles + tile * w.tile_run_bytes();
  const std::int64_t cols = w.padded_cols();
  const auto* x = reinterpret_cast<const std::int32_t*>(data);
  const std::int32_t* scales = x + cols / 4 * m;
  const std::int32_t* offsets = scales + cols / 32 * m;
  __m512 f[m] = {((void)T, _mm512_setzero_ps())...};
  for (std::int64_t b = cols / 32; b > 0; --b, p += kFp4TileBytes, x += 8 * m, scales += m, offsets += m) {
    __m512i c[m] = {_mm512_set1_epi32(offsets[T])...};
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      prefetch(p + g * 64);
      __m512i q = load(p + g * 64);
      __m512i low = _mm512_shuffle_epi8(table, _mm512_and_si512(q, nibble));
      __m512i high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(q, 4), nibble));
      ((c[T] = _mm512_dpbusd_epi32(c[T], low, _mm512_set1_epi32(x[2 * g * m + T]))), ...);
      ((c[T] = _mm512_dpbusd_epi32(c[T], high, _mm512_set1_epi32(x[(2 * g + 1) * m + T]))), ...);
    }
    // Row scale / 2 times token scale: the exponent field of one added to the other (both are clamped far from its
    // ends).
    __m128i bytes = _mm_min_epu8(_mm_max_epu8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 256)), least), most);
    __m512i e = _mm512_slli_epi32(_mm512_sub_epi32(_mm512_cvtepu8_epi32(bytes), _mm512_set1_epi32(128)), 23);
    ((f[T] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(c[T]),
                             _mm512_castsi512_ps(_mm512_add_epi32(e, _mm512_set1_epi32(scales[T]))), f[T])),
     ...);
  }
  store_group(tokens, f, w.rows - tile * kTileRows, y + tile * kTileRows, y_stride);
}

using Tile = void (*)(const PackedMatrix&, std::int64_t, const std::byte*, float*, std::int64_t);
enum Form { kFp4Int8, kFp4Bf16, kFp4F32, kFp8Bf16, kFp8F32, kBf16Bf16, kBf16F32, kF32F32, kForms };

template <int kForm, int m>
void tile_of(const PackedMatrix& w, std::int64_t tile, const std::byte* data, float* y, std::int64_t y_stride) {
  constexpr std::make_integer_sequence<int, m> tokens;
  if constexpr (kForm == kFp4Int8) int8_tile(tokens, w, tile, data, y, y_stride);
  if constexpr (kForm == kFp4Bf16) pairs_tile<Fp4Pairs, Bf16Dot>(tokens, w, tile, data, y, y_stride);
  if constexpr (kForm == kFp4F32) pairs_tile<Fp4Pairs, F32Dot>(tokens, w, tile, data, y, y_stride);
  if constexpr (kForm == kFp8Bf16) pairs_tile<Fp8Pairs, Bf16Dot>(tokens, w, tile, data, y, y_stride);
  if constexpr (kForm == kFp8F32) pairs_tile<Fp8Pairs, F32Dot>(tokens, w, tile, data, y, y_stride);
  if constexpr (kForm == kBf16Bf16) pairs_tile<Bf16Pairs, Bf16Dot>(tokens, w, tile, data, y, y_stride);
  if constexpr (kForm == kBf16F32) pairs_tile<Bf16Pairs, F32Dot>(tokens, w, tile, data, y, y_stride);
  if constexpr (kForm == kF32F32) f32_tile(tokens, w, tile, data, y, y_stride);
}

struct Tiles {
  Tile of[kForms][kTokenGroup + 1] = {};
  template <int kForm, int... M>
  constexpr void fill(std::integer_sequence<int, M...>) {
    ((of[kForm][M + 1] = tile_of<kForm, M + 1>), ...);
  }
  template <int... kForm>
  constexpr void fill_all(std::integer_sequence<int, kForm...>) {
    (fill<kForm>(std::make_integer_sequence<int, kTokenGroup>()), ...);
  }
  constexpr Tiles() { fill_all(std::make_integer_sequence<int, kForms>()); }
};
constexpr Tiles kTiles;

Form form_of(Encoding encoding, ActivationKind kind) {
  switch (encoding) {
    case Encoding::kFp4:
      return kind == ActivationKind::kInt8 ? kFp4Int8 : kind == ActivationKind::kBf16 ? kFp4Bf16 : kFp4F32;
    case Encoding::kFp8:
      return kind == ActivationKind::kBf16 ? kFp8Bf16 : kFp8F32;
    case Encoding::kBf16:
      return kind == ActivationKind::kBf16 ? kBf16Bf16 : kBf16F32;
    case Encoding::kF32:
      return kF32F32;
  }
  return kF32F32;
}

// Weights that stay in the second-level cache (1 MiB, beside the activations of a group) while one group of tokens
// after another passes over them: with a tile at a time, the activations of some hundred tokens came from the third
// level for every 16 rows. More than eight tiles gain nothing.
constexpr std::int64_t kRunBytes = 512 << 10, kRunTiles = 8;

std::int64_t tiles_of_run(const PackedMatrix& w) {
  const std::int64_t fit = kRunBytes / w.tile_run_bytes();
  return fit < 1 ? 1 : fit < kRunTiles ? fit : kRunTiles;
}

void matmul(const PackedMatrix& w, std::int64_t tile_begin, std::int64_t tile_end, const Activations& x, float* y,
            std::int64_t y_stride) {
  const Tile* forms = kTiles.of[form_of(w.encoding, x.kind)];
  const std::int64_t step = tiles_of_run(w);
  for (std::int64_t run = tile_begin; run < tile_end; run += step) {
    const std::int64_t end = tile_end - run < step ? tile_end : run + step;
    const std::byte* data = x.data;
    for (std::int64_t first = 0; first < x.count; first += kTokenGroup) {
      const std::int64_t m = x.count - first < kTokenGroup ? x.count - first : kTokenGroup;
      for (std::int64_t tile = run; tile < end; ++tile) forms[m](w, tile, data, y + first * y_stride, y_stride);
      data += activation_bytes(x.kind, m, x.cols);
    }
  }
}

}  // namespace

void avx512::fill_products(KernelTable& table) {
  table.pack_activations = generic::pack_activations<Lanes>;
  table.matmul = matmul;
}

}  // namespace hadal
