// Products on 256-bit registers: half a tile (8 rows) a register. One token takes both halves in one pass over the
// stream; more take a half at a time with up to four tokens, which is what 16 registers hold.
#include <immintrin.h>

#include <utility>

#include "kernels/avx2/fp8_products.h"
#include "kernels/avx2/lanes.h"
#include "kernels/avx2/tile.h"
#include "kernels/families.h"
#include "kernels/generic/pack.h"

namespace hadal {
namespace {

struct Pair {
  __m256 even, odd;
};

// One column pair of activations for one token, both elements in all lanes.
struct Bf16Words {
  using Word = std::int32_t;
  static constexpr int kWords = 1;
  static Pair pair(const Word* x, std::int64_t) {
    __m256i v = _mm256_set1_epi32(*x);
    return {low_half(v), high_half(v)};
  }
};
struct F32Words {
  using Word = float;
  static constexpr int kWords = 2;
  static Pair pair(const Word* x, std::int64_t m) { return {_mm256_set1_ps(x[0]), _mm256_set1_ps(x[m])}; }
};

// Decoders give kPairs column pairs of 8 rows from the half's part of a step of kBytes.
template <class X>
struct Fp4Columns {
  static constexpr int kPairs = 4, kBytes = 64, kBlock = 32, kTail = 16;
  const __m256 table = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
  const __m256i sign = _mm256_set1_epi32(INT32_MIN);

  // The code's magnitude is the low 3 bits of a lane of `index`, its sign the top bit of the same lane of `top`.
  __m256 column(__m256i index, __m256i top) const {
    return _mm256_or_ps(_mm256_permutevar8x32_ps(table, index), _mm256_castsi256_ps(_mm256_and_si256(top, sign)));
  }
  void operator()(const std::byte* p, int half, Pair* out) const {
    __m256i q = load(p + 32 * half);
    out[0] = {column(q, _mm256_slli_epi32(q, 28)), column(_mm256_srli_epi32(q, 8), _mm256_slli_epi32(q, 20))};
    out[1] = {column(_mm256_srli_epi32(q, 16), _mm256_slli_epi32(q, 12)),
              column(_mm256_srli_epi32(q, 24), _mm256_slli_epi32(q, 4))};
    out[2] = {column(_mm256_srli_epi32(q, 4), _mm256_slli_epi32(q, 24)),
              column(_mm256_srli_epi32(q, 12), _mm256_slli_epi32(q, 16))};
    out[3] = {column(_mm256_srli_epi32(q, 20), _mm256_slli_epi32(q, 8)), column(_mm256_srli_epi32(q, 28), q)};
  }
  static __m256 scale(const PackedMatrix&, std::int64_t, std::int64_t, const std::byte* tail, int half) {
    __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(tail + 8 * half));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(bytes), 23));
  }
};

// E4M3 to bfloat16 by bytes. For a normal code the bfloat16 is 0x3c00 + (code << 4): its high byte depends on the upper
// four bits, its low byte is the lower four bits moved up. Codes 0..7 (zero and subnormals) are corrected by two
// tables: adding 0x78 with saturation leaves them at 0x78..0x7f, where pshufb reads entries 8..15, and puts all others
// above 0x7f, where it gives 0.
template <class X>
struct Fp8Columns {
  static constexpr int kPairs = 2, kBytes = 64, kBlock = 128, kTail = 0;
  static __m256i twice(__m128i v) { return _mm256_broadcastsi128_si256(v); }
  const __m256i high = twice(_mm_setr_epi8(0x3c, 0x3d, 0x3e, 0x3f, 0x40, 0x41, 0x42, 0x43, -0x44, -0x43, -0x42, -0x41,
                                           -0x40, -0x3f, -0x3e, -0x3d));
  const __m256i high_fix = twice(_mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, -0x3c, -1, -1, -1, 0, 0, 0, 0));
  const __m256i low_fix = twice(_mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, -16, 96, -112, -64, -48, -32, -16));

  void operator()(const std::byte* p, int half, Pair* out) const {
    const __m256i q = load(p + 32 * half), nibble = _mm256_set1_epi8(15);
    const __m256i small = _mm256_adds_epu8(_mm256_and_si256(q, _mm256_set1_epi8(0x7f)), _mm256_set1_epi8(0x78));
    const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(q, 4), nibble);
    const __m256i lower = _mm256_andnot_si256(nibble, _mm256_slli_epi16(q, 4));
    const __m256i hi = _mm256_add_epi8(_mm256_shuffle_epi8(high, upper), _mm256_shuffle_epi8(high_fix, small));
    const __m256i lo = _mm256_add_epi8(lower, _mm256_shuffle_epi8(low_fix, small));
    const __m256i first = _mm256_unpacklo_epi8(lo, hi), second = _mm256_unpackhi_epi8(lo, hi);
    out[0] = {low_half(first), high_half(first)};
    out[1] = {low_half(second), high_half(second)};
  }
  static __m256 scale(const PackedMatrix& w, std::int64_t tile, std::int64_t block, const std::byte*, int) {
    return _mm256_set1_ps(w.scales[tile * w.scale_blocks() + block]);
  }
};

template <class X>
struct Bf16Columns {
  static constexpr int kPairs = 2, kBytes = 128, kBlock = 128, kTail = 0;
  void operator()(const std::byte* p, int half, Pair* out) const {
    for (int i = 0; i < 2; ++i) {
      __m256i v = load(p + 64 * i + 32 * half);
      out[i] = {low_half(v), high_half(v)};
    }
  }
  static __m256 scale(const PackedMatrix&, std::int64_t, std::int64_t, const std::byte*, int) {
    return _mm256_set1_ps(1);
  }
};

template <class X>
struct F32Columns {
  static constexpr int kPairs = 2, kBytes = 256, kBlock = 128, kTail = 0;
  void operator()(const std::byte* p, int half, Pair* out) const {
    const auto* f = reinterpret_cast<const float*>(p) + 8 * half;
    out[0] = {_mm256_loadu_ps(f), _mm256_loadu_ps(f + 16)};
    out[1] = {_mm256_loadu_ps(f + 32), _mm256_loadu_ps(f + 48)};
  }
  static __m256 scale(const PackedMatrix&, std::int64_t, std::int64_t, const std::byte*, int) {
    return _mm256_set1_ps(1);
  }
};

__m256 step(__m256 acc, Pair w, Pair x) { return _mm256_fmadd_ps(w.even, x.even, _mm256_fmadd_ps(w.odd, x.odd, acc)); }

// What one call of a tile kernel works on: a tile, one group's activations of m tokens, of which it takes some.
struct Job {
  const PackedMatrix& w;
  std::int64_t tile;
  const std::byte* data;
  std::int64_t m;
  float* y;  // row 0 of the tile, token 0 of the group
  std::int64_t y_stride;

  const std::byte* run() const { return w.tiles + tile * w.tile_run_bytes(); }
  std::int64_t rows() const { return w.rows - tile * kTileRows; }
};

// Accumulator A of a call is half-tile begin + A / n for its token A % n.
//
// The two chains of a run of columns. Indices are constants everywhere, so that accumulators stay in registers.
template <class Columns, class X, int n, int... T, int... A>
void chains(std::integer_sequence<int, T...>, std::integer_sequence<int, A...>, const Columns& columns,
            const std::byte* p, const typename X::Word* x, std::int64_t m, int begin, int steps, __m256* sums) {
  constexpr int kHalves = sizeof...(A) / n, q = Columns::kPairs;
  __m256 c[] = {((void)A, _mm256_setzero_ps())...}, d[] = {((void)A, _mm256_setzero_ps())...};
  const std::int64_t stride = X::kWords * m;
  for (int i = 0; i < steps; ++i, p += Columns::kBytes, x += q * stride) {
    for (int ahead = 0; ahead < Columns::kBytes; ahead += 64) prefetch(p + ahead);
    Pair w[kHalves][q];
    columns(p, begin, w[0]);
    if constexpr (kHalves == 2) columns(p, begin + 1, w[1]);
    {
      const Pair v[] = {X::pair(x + T, m)...};
      ((c[A] = step(c[A], w[A / n][0], v[A % n])), ...);
    }
    {
      const Pair v[] = {X::pair(x + stride + T, m)...};
      ((d[A] = step(d[A], w[A / n][1], v[A % n])), ...);
    }
    if constexpr (q == 4) {
      const Pair v[] = {X::pair(x + 2 * stride + T, m)...};
      ((c[A] = step(c[A], w[A / n][2], v[A % n])), ...);
      const Pair u[] = {X::pair(x + 3 * stride + T, m)...};
      ((d[A] = step(d[A], w[A / n][3], u[A % n])), ...);
    }
  }
  ((sums[A] = _mm256_add_ps(c[A], d[A])), ...);
}

// Tokens [first, first + n), H halves from `begin`.
template <template <class> class Decoder, class X, int H, int n, int... A>
void columns_tile(std::integer_sequence<int, A...> all, const Job& job, int first, int begin) {
  constexpr std::make_integer_sequence<int, n> tokens;
  using Columns = Decoder<X>;
  constexpr int kColumns = 2 * Columns::kPairs;  // of a step
  const Columns columns;
  const std::int64_t m = job.m;
  const std::byte* p = job.run();
  const auto* x = reinterpret_cast<const typename X::Word*>(job.data) + first;
  __m256 f[] = {((void)A, _mm256_setzero_ps())...};
  std::int64_t block = 0;
  for (std::int64_t left = job.w.padded_cols(); left > 0; left -= Columns::kBlock, ++block) {
    const int width = static_cast<int>(left < Columns::kBlock ? left : Columns::kBlock);
    __m256 sum[H * n];
    chains<Columns, X, n>(tokens, all, columns, p, x, m, begin, width / kColumns, sum);
    p += width / kColumns * Columns::kBytes;
    x += width / 2 * X::kWords * m;
    const __m256 scale[] = {Columns::scale(job.w, job.tile, block, p, begin),
                            Columns::scale(job.w, job.tile, block, p, begin + H - 1)};
    p += Columns::kTail;
    ((f[A] = _mm256_fmadd_ps(sum[A], scale[A / n], f[A])), ...);
  }
  (store_half(f[A], job.rows(), 8 * (begin + A / n), job.y + (first + A % n) * job.y_stride), ...);
}

// Makes the compiler add here: GCC otherwise collects the sums of a block in another order, through the stack.
void settle(__m256i& v) { asm("" : "+x"(v)); }

// kFp4 by int8. 2w + 12 (0..24) times int8, pairs of products in int16: four of them stay below 32767.
template <int H, int n, int... A>
void int8_tile(std::integer_sequence<int, A...>, const Job& job, int first, int begin) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
  const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  const __m128i least = _mm_set1_epi8(static_cast<char>(kInt8MinScale)),
                most = _mm_set1_epi8(static_cast<char>(kInt8MaxScale));
  const std::int64_t m = job.m, cols = job.w.padded_cols();
  const std::byte* p = job.run();
  const auto* x = reinterpret_cast<const std::int32_t*>(job.data) + first;
  const std::int32_t* scales = x + cols / 4 * m;
  const std::int32_t* offsets = scales + cols / 32 * m;
  __m256 f[] = {((void)A, _mm256_setzero_ps())...};
  for (std::int64_t b = cols / 32; b > 0; --b, p += kFp4TileBytes, x += 8 * m, scales += m, offsets += m) {
    __m256i low[] = {((void)A, _mm256_setzero_si256())...}, high[] = {((void)A, _mm256_setzero_si256())...};
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      prefetch(p + g * 64);
      const __m256i q[] = {load(p + g * 64 + 32 * begin), load(p + g * 64 + 32 * (begin + H - 1))};
      const __m256i lo[] = {_mm256_shuffle_epi8(table, _mm256_and_si256(q[0], nibble)),
                            _mm256_shuffle_epi8(table, _mm256_and_si256(q[1], nibble))};
      const __m256i hi[] = {_mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(q[0], 4), nibble)),
                            _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(q[1], 4), nibble))};
      const std::int32_t* v = x + 2 * g * m;
      ((low[A] = _mm256_add_epi16(low[A], _mm256_maddubs_epi16(lo[A / n], _mm256_set1_epi32(v[A % n])))), ...);
      ((high[A] = _mm256_add_epi16(high[A], _mm256_maddubs_epi16(hi[A / n], _mm256_set1_epi32(v[m + A % n])))), ...);
      (settle(low[A]), ...);
      (settle(high[A]), ...);
    }
    const __m128i bytes =
        _mm_min_epu8(_mm_max_epu8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 256)), least), most);
    // Row scale / 2 as an exponent to add to the token scale's.
    const __m128i upper = _mm_srli_si128(bytes, 8);
    auto exponent = [](__m128i e) {
      return _mm256_slli_epi32(_mm256_sub_epi32(_mm256_cvtepu8_epi32(e), _mm256_set1_epi32(128)), 23);
    };
    const __m256i e[] = {exponent(begin == 0 ? bytes : upper), exponent(upper)};
    const __m256i sums[] = {
        _mm256_add_epi32(_mm256_add_epi32(_mm256_madd_epi16(low[A], ones), _mm256_madd_epi16(high[A], ones)),
                         _mm256_set1_epi32(offsets[A % n]))...};
    ((f[A] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[A]),
                             _mm256_castsi256_ps(_mm256_add_epi32(e[A / n], _mm256_set1_epi32(scales[A % n]))), f[A])),
     ...);
  }
  (store_half(f[A], job.rows(), 8 * (begin + A / n), job.y + (first + A % n) * job.y_stride), ...);
}

struct Int8 {
  template <int H, int n>
  static void run(const Job& job, int first, int begin) {
    int8_tile<H, n>(std::make_integer_sequence<int, H * n>(), job, first, begin);
  }
};
template <template <class> class Decoder, class X>
struct Columns {
  template <int H, int n>
  static void run(const Job& job, int first, int begin) {
    columns_tile<Decoder, X, H, n>(std::make_integer_sequence<int, H * n>(), job, first, begin);
  }
};

template <class Form>
void group(const Job& job) {
  if (job.m == 1) return Form::template run<2, 1>(job, 0, 0);
  if (job.m == 2) return Form::template run<2, 2>(job, 0, 0);
  for (int begin = 0; begin < 2; ++begin) {
    int first = 0;
    for (; first + 4 <= job.m; first += 4) Form::template run<1, 4>(job, first, begin);
    switch (job.m - first) {
      case 3:
        Form::template run<1, 3>(job, first, begin);
        break;
      case 2:
        Form::template run<1, 2>(job, first, begin);
        break;
      case 1:
        Form::template run<1, 1>(job, first, begin);
        break;
      default:
        break;
    }
  }
}

using Group = void (*)(const Job&);
Group form_of(Encoding encoding, ActivationKind kind) {
  const bool bf16 = kind == ActivationKind::kBf16;
  switch (encoding) {
    case Encoding::kFp4:
      if (kind == ActivationKind::kInt8) return group<Int8>;
      return bf16 ? group<Columns<Fp4Columns, Bf16Words>> : group<Columns<Fp4Columns, F32Words>>;
    case Encoding::kFp8:
      return bf16 ? group<Columns<Fp8Columns, Bf16Words>> : group<Columns<Fp8Columns, F32Words>>;
    case Encoding::kBf16:
      return bf16 ? group<Columns<Bf16Columns, Bf16Words>> : group<Columns<Bf16Columns, F32Words>>;
    case Encoding::kF32:
      break;
  }
  return group<Columns<F32Columns, F32Words>>;
}

// Tiles of one call for all tokens: FP8 weights of a run of tiles, half a MiB at 4,096 columns, stay in the
// second-level cache while one set of widened activations after another passes over them. Other forms take a tile at a
// time.
constexpr std::int64_t kRun = 8;

void matmul(const PackedMatrix& w, std::int64_t tile_begin, std::int64_t tile_end, const Activations& x, float* y,
            std::int64_t y_stride) {
  const Group form = form_of(w.encoding, x.kind);
  const bool fp8 = w.encoding == Encoding::kFp8 && x.kind == ActivationKind::kBf16;
  const std::int64_t step = !fp8 ? 1 : x.count > 1 ? kRun : tile_end - tile_begin;
  for (std::int64_t tile = tile_begin; tile < tile_end; tile += step) {
    const std::int64_t end = tile_end - tile < step ? tile_end : tile + step;
    const std::byte* data = x.data;
    for (std::int64_t first = 0; first < x.count; first += kTokenGroup) {
      const std::int64_t m = x.count - first < kTokenGroup ? x.count - first : kTokenGroup;
      float* out = y + first * y_stride;
      std::int64_t done = 0;
      while (fp8 && done < m) {
        const std::int64_t n = m - done < avx2::kFp8Tokens ? m - done : avx2::kFp8Tokens;
        if (!avx2::multiply_fp8(w, tile, end, data, m, done, n, out, y_stride)) break;
        done += n;
      }
      for (std::int64_t t = tile; t < end && done < m; ++t) form(Job{w, t, data, m, out + t * kTileRows, y_stride});
      data += activation_bytes(x.kind, m, x.cols);
    }
  }
}

}  // namespace

void avx2::fill_products(KernelTable& table) {
  table.pack_activations = generic::pack_activations<Lanes>;
  table.matmul = matmul;
}

}  // namespace hadal
