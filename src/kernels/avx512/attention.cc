// Attention over packed rows with bfloat16 dot products. A block of 64 rows is widened once to bfloat16 with its scales
// folded in (exact), transposed once for the scores and interleaved once for the outputs; both products are register
// tiles of 8 heads by 32 rows or channels. Bits as generic/attention.h defines them.
#include "kernels/generic/attention.h"

#include <immintrin.h>

#include "kernels/avx512/e4m3_table.h"
#include "kernels/avx512/lanes.h"
#include "kernels/families.h"

namespace hadal {
namespace {

constexpr int kHeads = 8;  // of a tile: 16 accumulators, two loads for 16 dot products
// Blocks whose outputs are added in one pass over acc: acc, 128 KiB for 64 heads, does not fit the first-level cache.
constexpr int kBlocks = 4;
constexpr int kPairs = kAttendBlock / 2;  // row pairs of a block

__m512i load(const void* p) { return _mm512_loadu_si512(p); }
__m512bh as_bf16(__m512i v) { return reinterpret_cast<__m512bh>(v); }
__m512bh pair(std::uint32_t v) { return as_bf16(_mm512_set1_epi32(static_cast<int>(v))); }

// Shapes this form handles: whole E4M3 blocks and whole registers of rotary channels.
bool whole(const RowShape& s) { return s.nope() % 64 == 0 && s.rope_dim % 32 == 0; }

struct Scratch {
  std::uint16_t* rows;    // [kAttendBlock][D] bfloat16
  std::uint32_t* keys;    // [kAttendBlock / 32][D / 2][32] channel pairs
  std::uint32_t* values;  // [kBlocks][D / 32][kPairs][32] row pairs
  std::uint32_t* q;       // [head tiles][D / 2][kHeads] channel pairs
  std::uint32_t* p;       // [kBlocks][heads][kPairs] row pairs
  float* scores;          // [heads][kAttendBlock]
  float* factors;         // [kBlocks][heads] by which a block rescales acc

  Scratch(std::byte* at, int d, int heads) {
    const std::int64_t tiles = (heads + kHeads - 1) / kHeads;
    auto take = [&]<class T>(T*& p_, std::int64_t n) {
      p_ = reinterpret_cast<T*>(at);
      at += n * static_cast<std::int64_t>(sizeof(T));
    };
    take(rows, kAttendBlock * d);
    take(keys, kAttendBlock * d / 2);
    take(values, kBlocks * kPairs * d);
    take(q, tiles * kHeads * d / 2);
    take(p, kBlocks * heads * kPairs);
    take(scores, heads * kAttendBlock);
    take(factors, kBlocks * heads);
  }
};

std::int64_t scratch_bytes(const RowShape& shape, int heads) {
  const std::int64_t d = shape.head_dim, padded = (heads + kHeads - 1) / kHeads * kHeads;
  const std::int64_t own =
      kAttendBlock * d * (4 + 2 * kBlocks) + padded * d * 2 + heads * (kAttendBlock * 4 + kBlocks * (4 * kPairs + 4));
  const std::int64_t generic = generic::attend_scratch_bytes<Lanes>(shape, heads);
  return (own > generic ? own : generic) + 64;
}

// Anything a scale byte may do to an exponent field: done in float32, as the definition says.
void widen_slowly(const RowShape& shape, const std::byte* row, std::uint16_t* out) {
  for (int b = 0; b < shape.nope(); b += 64) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(row);
    auto s = Lanes::set(generic::e8m0_float<Lanes>(bytes[shape.nope() + 2 * shape.rope_dim + b / 64]));
    for (int i = b; i < b + 64; i += 16) {
      auto v = Lanes::mul(generic::from_e4m3<Lanes>(Lanes::load_u8(bytes + i)), s);
      Lanes::store_u16(out + i, Lanes::shr<16>(Lanes::bits(v)));
    }
  }
}

// One row to bfloat16 in natural order.
void widen(const RowShape& shape, const std::byte* row, std::uint16_t* out) {
  const __m512i h0 = load(kE4m3.high), h1 = load(kE4m3.high + 64), l0 = load(kE4m3.low), l1 = load(kE4m3.low + 64);
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80)), nan = _mm512_set1_epi8(0x7f);
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);
  const int nope = shape.nope();
  const auto* scales = reinterpret_cast<const std::uint8_t*>(row) + nope + 2 * shape.rope_dim;
  bool odd_scale = false;
  __mmask64 odd_code = 0;
  for (int b = 0; b < nope; b += 64) {
    const int e = scales[b / 64];
    odd_scale |= e < 16 || e > 240;  // outside, an exponent field could leave its range
    __m512i q = load(row + b);
    odd_code |= _mm512_cmpeq_epi8_mask(_mm512_and_si512(q, nan), nan);
    __m512i high = _mm512_permutex2var_epi8(h0, q, h1), low = _mm512_permutex2var_epi8(l0, q, l1);
    high = _mm512_ternarylogic_epi32(high, q, sign, 0xf8);
    __m512i u = _mm512_unpacklo_epi8(low, high), v = _mm512_unpackhi_epi8(low, high);
    __m512i x = _mm512_permutex2var_epi64(u, first, v), y = _mm512_permutex2var_epi64(u, second, v);
    const __m512i add = _mm512_set1_epi16(static_cast<short>((e - 127) << 7));
    x = _mm512_mask_add_epi16(x, _mm512_test_epi16_mask(x, magnitude), x, add);
    y = _mm512_mask_add_epi16(y, _mm512_test_epi16_mask(y, magnitude), y, add);
    _mm512_storeu_si512(out + b, x);
    _mm512_storeu_si512(out + b + 32, y);
  }
  if (odd_scale || odd_code != 0) widen_slowly(shape, row, out);
  for (int i = 0; i < shape.rope_dim; i += 32) _mm512_storeu_si512(out + nope + i, load(row + nope + 2 * i));
}

// 16 x 16 transpose of 32-bit words.
[[gnu::always_inline]] inline void transpose(__m512i* r) {
  __m512i t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

void arrange_keys(const Scratch& s, int d, int rows) {
  for (int j = 0; j < rows; j += 16)
    for (int i = 0; i < d / 2; i += 16) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) r[k] = load(s.rows + (j + k) * d + 2 * i);
      transpose(r);
      std::uint32_t* out = s.keys + j / 32 * (16 * d) + i * 32 + (j & 16);
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) _mm512_storeu_si512(out + k * 32, r[k]);
    }
}

// Channels outside, rows inside: the stores then run on, while the other order would write to 4 KiB strides.
void arrange_values(const Scratch& s, int d, int rows, std::uint32_t* values) {
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  for (int i = 0; i < d; i += 32) {
    std::uint32_t* out = values + i * kPairs;
    const std::uint16_t* in = s.rows + i;
    for (int j = 0; j < rows; j += 2, out += 32, in += 2 * d) {
      __m512i even = load(in), odd = load(in + d);
      __m512i low = _mm512_unpacklo_epi16(even, odd), high = _mm512_unpackhi_epi16(even, odd);
      _mm512_storeu_si512(out, _mm512_permutex2var_epi64(low, first, high));
      _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi64(low, second, high));
    }
  }
}

// Adds q . k over `pairs` channel pairs to the scores of heads T... against 32 rows.
template <int... T>
void score_tile(std::integer_sequence<int, T...>, const std::uint32_t* q, const std::uint32_t* keys, int pairs,
                bool fresh, float* s) {
  __m512 a[] = {(fresh ? _mm512_setzero_ps() : Lanes::load(s + T * kAttendBlock))...};
  __m512 b[] = {(fresh ? _mm512_setzero_ps() : Lanes::load(s + T * kAttendBlock + 16))...};
  for (int i = 0; i < pairs; ++i, q += kHeads, keys += 32) {
    const __m512bh k0 = as_bf16(load(keys)), k1 = as_bf16(load(keys + 16));
    ((a[T] = _mm512_dpbf16_ps(a[T], k0, pair(q[T])), b[T] = _mm512_dpbf16_ps(b[T], k1, pair(q[T]))), ...);
  }
  (Lanes::store(s + T * kAttendBlock, a[T]), ...);
  (Lanes::store(s + T * kAttendBlock + 16, b[T]), ...);
}

// Blocks whose outputs wait to be added to acc.
struct Outputs {
  int count = 0;
  int pairs[kBlocks];  // row pairs of each
  bool fresh = true;   // acc holds nothing yet
};

// Rows T of a tile at a stride, addressed from two of them: GCC would otherwise keep eight pointers, most of them
// spilled.
struct Strided {
  float *low, *high;
  std::int64_t once, thrice;
  Strided(float* at, std::int64_t stride) : low(at), high(at + 4 * stride), once(stride), thrice(3 * stride) {
    asm("" : "+r"(high), "+r"(once), "+r"(thrice));
  }
  template <int T>
  float* at() const {
    float* base = T < 4 ? low : high;
    return T % 4 == 3 ? base + thrice : base + T % 4 * once;
  }
};

// acc = acc * factor + p . v for one block after another, 32 channels from i on, heads h + T...
template <int... T>
void output_tile(std::integer_sequence<int, T...>, const AttendArgs& args, const Scratch& s, const Outputs& outputs,
                 int h, int i) {
  const std::int64_t d = args.shape.head_dim;
  const Strided acc(args.acc + h * d + i, d);
  __m512 a[] = {(outputs.fresh ? _mm512_setzero_ps() : Lanes::load(acc.at<T>()))...};
  __m512 b[] = {(outputs.fresh ? _mm512_setzero_ps() : Lanes::load(acc.at<T>() + 16))...};
  for (int n = 0; n < outputs.count; ++n) {
    const float* factor = s.factors + n * args.heads + h;
    if (n > 0 || !outputs.fresh)
      ((a[T] = _mm512_mul_ps(_mm512_set1_ps(factor[T]), a[T]), b[T] = _mm512_mul_ps(_mm512_set1_ps(factor[T]), b[T])),
       ...);
    const std::uint32_t* p = s.p + static_cast<std::int64_t>(n * args.heads + h) * kPairs;
    const std::uint32_t* values = s.values + (n * d + i) * kPairs;
    for (int j = outputs.pairs[n]; j > 0; --j, ++p, values += 32) {
      const __m512bh v0 = as_bf16(load(values)), v1 = as_bf16(load(values + 16));
      ((a[T] = _mm512_dpbf16_ps(a[T], v0, pair(p[T * kPairs])), b[T] = _mm512_dpbf16_ps(b[T], v1, pair(p[T * kPairs]))),
       ...);
    }
  }
  (Lanes::store(acc.at<T>(), a[T]), ...);
  (Lanes::store(acc.at<T>() + 16, b[T]), ...);
}

using ScoreTile = void (*)(const std::uint32_t*, const std::uint32_t*, int, bool, float*);
using OutputTile = void (*)(const AttendArgs&, const Scratch&, const Outputs&, int, int);
template <int n>
void score_n(const std::uint32_t* q, const std::uint32_t* keys, int pairs, bool fresh, float* s) {
  score_tile(std::make_integer_sequence<int, n>(), q, keys, pairs, fresh, s);
}
template <int n>
void output_n(const AttendArgs& args, const Scratch& s, const Outputs& outputs, int h, int i) {
  output_tile(std::make_integer_sequence<int, n>(), args, s, outputs, h, i);
}
constexpr ScoreTile kScore[] = {nullptr,    score_n<1>, score_n<2>, score_n<3>, score_n<4>,
                                score_n<5>, score_n<6>, score_n<7>, score_n<8>};
constexpr OutputTile kOutput[] = {nullptr,     output_n<1>, output_n<2>, output_n<3>, output_n<4>,
                                  output_n<5>, output_n<6>, output_n<7>, output_n<8>};

// Scores to p of one head; returns the factor that the risen maximum puts on what came before (1 if it did not rise).
float softmax(const float* s, __mmask64 visible, float scale, float& max, float& sum, std::uint32_t* p) {
  const __m512 hidden = _mm512_set1_ps(-__builtin_inff()), by = _mm512_set1_ps(scale);
  __m512 x[4], top = hidden;
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    x[j] = _mm512_mask_mul_ps(hidden, static_cast<__mmask16>(visible >> (16 * j)), Lanes::load(s + 16 * j), by);
    top = Lanes::max(x[j], top);  // in the definition's order: a damaged row's NaN must lose in the same places
  }
  const float m = Lanes::max_of(top);
  float factor = 1;
  if (m > max) {
    factor = generic::exp1<Lanes>(max - m);
    sum *= factor;
    max = m;
  }
  const __m512 limit = _mm512_set1_ps(max);
  __m512 total = _mm512_setzero_ps();
#pragma GCC unroll 2
  for (int j = 0; j < 4; j += 2) {
    __m512 e0 = generic::exp<Lanes>(Lanes::sub(x[j], limit)), e1 = generic::exp<Lanes>(Lanes::sub(x[j + 1], limit));
    total = Lanes::add(Lanes::add(total, e0), e1);
    _mm512_storeu_si512(p + 8 * j, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(e1, e0)));
  }
  sum += Lanes::sum(total);
  return factor;
}

void add_outputs(const AttendArgs& a, const Scratch& t, Outputs& outputs) {
  if (outputs.count == 0) return;
  for (int i = 0; i < a.shape.head_dim; i += 32)
    for (int h = 0; h < a.heads; h += kHeads) kOutput[a.heads - h < kHeads ? a.heads - h : kHeads](a, t, outputs, h, i);
  outputs.fresh = false;
  outputs.count = 0;
}

// Queries to bfloat16 pairs, heads of a tile side by side.
void arrange_queries(const AttendArgs& a, const Scratch& t) {
  const int d = a.shape.head_dim;
  for (int h = 0; h < a.heads; h += kHeads)
    for (int i = 0; i < d; i += 32) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) {
        r[k] = _mm512_setzero_si512();
        if (k >= kHeads || h + k >= a.heads) continue;
        const float* from = a.q + static_cast<std::int64_t>(h + k) * d + i;
        r[k] = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(Lanes::load(from + 16), Lanes::load(from)));
      }
      transpose(r);
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.q + h * (d / 2) + (i / 2 + k) * kHeads),
                            _mm512_castsi512_si256(r[k]));
    }
}

void attend_packed(const AttendArgs& a) {
  if (!whole(a.shape)) return generic::attend<Lanes, true>(a);
  const int d = a.shape.head_dim, heads = a.heads;
  const Scratch t(a.scratch, d, heads);
  arrange_queries(a, t);
  for (int h = 0; h < heads; ++h) {
    a.max[h] = -__builtin_inff();
    a.sum[h] = 0;
  }
  Outputs outputs;
  for (std::int64_t begin = 0; begin < a.row_count; begin += kAttendBlock) {
    const int rows = static_cast<int>(a.row_count - begin < kAttendBlock ? a.row_count - begin : kAttendBlock);
    const int padded = (rows + 31) / 32 * 32;
    __mmask64 visible = 0;
    for (int j = 0; j < padded; ++j) {
      const std::byte* row = j < rows ? a.rows[begin + j] : nullptr;
      if (row == nullptr) {
        __builtin_memset(t.rows + j * d, 0, 2 * static_cast<std::size_t>(d));
      } else {
        if (j + 4 < rows && a.rows[begin + j + 4] != nullptr)  // gathered rows: 584 bytes are ten lines
          for (int line = 0; line < a.shape.packed_bytes(); line += 64)
            _mm_prefetch(reinterpret_cast<const char*>(a.rows[begin + j + 4]) + line, _MM_HINT_T0);
        visible |= __mmask64{1} << j;
        widen(a.shape, row, t.rows + j * d);
      }
    }
    if (visible == 0) continue;
    const int n = outputs.count;
    arrange_keys(t, d, padded);
    arrange_values(t, d, padded, t.values + n * (d * kPairs));

    // Half of the channels at a time: 16 KiB of keys stay in the first-level cache over all heads.
    const int half = (d / 2 + 1) / 2;
    for (int g = 0; g < padded / 32; ++g)
      for (int i = 0; i < d / 2; i += half)
        for (int h = 0; h < heads; h += kHeads)
          kScore[heads - h < kHeads ? heads - h : kHeads](
              t.q + h * (d / 2) + i * kHeads, t.keys + g * (16 * d) + i * 32, i + half < d / 2 ? half : d / 2 - i,
              i == 0, t.scores + h * kAttendBlock + 32 * g);
    for (int h = 0; h < heads; ++h)
      t.factors[n * heads + h] =
          softmax(t.scores + h * kAttendBlock, visible, a.scale, a.max[h], a.sum[h], t.p + (n * heads + h) * kPairs);
    outputs.pairs[n] = (rows + 1) / 2;
    if (++outputs.count == kBlocks) add_outputs(a, t, outputs);
  }
  add_outputs(a, t, outputs);
  if (outputs.fresh)
    __builtin_memset(a.acc, 0, sizeof(float) * static_cast<std::size_t>(heads) * static_cast<std::size_t>(d));
}

}  // namespace

void avx512::fill_attention(KernelTable& table) {
  generic::fill_attention<Lanes>(table);
  table.attend_scratch_bytes = scratch_bytes;
  table.attend_packed = attend_packed;
}

}  // namespace hadal
