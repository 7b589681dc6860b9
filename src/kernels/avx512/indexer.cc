// Indexer scores, lanes = keys, so the sum over heads stays in a lane.
//
// Folded form: block exponents of a key (and of a query head) that differ by at most 3 are folded into its int8 values
// (12 * 8 = 96), one integer dot product then covers all channels. Sums stay below 2^24 and all scales are powers of
// two far from the ends of float32, so the result has the bits of the definition in generic/indexer.h; the ranges
// checked below guarantee it. A tile or a query outside them takes the exact form, one float step for each block.
#include "kernels/generic/indexer.h"

#include <immintrin.h>

#include <utility>

#include "kernels/avx512/lanes.h"
#include "kernels/families.h"

namespace hadal {
namespace {

constexpr int kMaxHeads = 128, kMaxDim = 256;  // of the folded form; its query is 32 KiB of stack
constexpr int kMinScale = 127 - 24, kMaxScale = 127 + 24;
constexpr int kHeads = 8;
constexpr std::int8_t kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

__m512i load(const void* p) { return _mm512_loadu_si512(p); }

// Byte s * 16 + code: 128 + (doubled value << s), unsigned for vpdpbusd.
struct FoldTable {
  alignas(64) std::uint8_t value[64];
  constexpr FoldTable() : value() {
    for (int s = 0; s < 4; ++s)
      for (int c = 0; c < 16; ++c) value[s * 16 + c] = static_cast<std::uint8_t>(128 + kDoubled[c] * (1 << s));
  }
};
constexpr FoldTable kFold;

struct FoldedQuery {
  alignas(64) std::uint32_t quads[kMaxHeads / kHeads][kMaxDim / 4][kHeads];  // int8, [head tile][quad][head]
  std::int32_t offset[kMaxHeads];                                            // -128 * sum of the head's int8
  float weight[kMaxHeads];                                                   // weight * smallest block scale / 2
};

bool within(float x, float low, float high) { return x >= low && x <= high; }

// False when some head is out of the folded form's range.
bool fold_query(const IndexArgs& a, FoldedQuery& f) {
  if (a.heads > kMaxHeads || a.heads % kHeads != 0 || a.dim > kMaxDim) return false;
  const int blocks = a.dim / 32;
  for (int h = 0; h < a.heads; ++h) {
    int least = 255, most = 0;
    for (int b = 0; b < blocks; ++b) {
      const auto bits = __builtin_bit_cast(std::uint32_t, a.q_scale[h * blocks + b]);
      if ((bits & 0x807fffffu) != 0) return false;  // not a positive power of two
      const int e = static_cast<int>(bits >> 23);
      least = e < least ? e : least;
      most = e > most ? e : most;
    }
    if (most - least > 3 || least < kMinScale || most > kMaxScale) return false;
    const float w = a.weight[h] < 0 ? -a.weight[h] : a.weight[h];
    if (w != 0 && !within(w, 0x1p-50f, 0x1p50f)) return false;
    std::int32_t sum = 0;
    for (int k = 0; k < a.dim; k += 4) {
      const int shift =
          static_cast<int>(__builtin_bit_cast(std::uint32_t, a.q_scale[h * blocks + k / 32]) >> 23) - least;
      std::uint32_t quad = 0;
      for (int j = 0; j < 4; ++j) {
        const int v = a.q[static_cast<std::int64_t>(h) * a.dim + k + j] * (1 << shift);
        if (v < -96 || v > 96) return false;
        sum += v;
        quad |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(v)) << (8 * j);
      }
      f.quads[h / kHeads][k / 4][h % kHeads] = quad;
    }
    f.offset[h] = -128 * sum;
    f.weight[h] = a.weight[h] * (generic::e8m0_float<Lanes>(least) * 0.5f);
  }
  return true;
}

// The keys of a tile as [dim / 4][16] quads and their smallest block scale; false when their exponents spread too far.
bool fold_tile(const std::byte* tile, int blocks, std::byte* out, __m512& scale) {
  __m128i least = _mm_set1_epi8(static_cast<char>(255)), most = _mm_setzero_si128();
  for (int b = 0; b < blocks; ++b) {
    __m128i e = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile + b * kFp4TileBytes + 256));
    least = _mm_min_epu8(least, e);
    most = _mm_max_epu8(most, e);
  }
  const __m128i low = _mm_set1_epi8(kMinScale), high = _mm_set1_epi8(static_cast<char>(kMaxScale));
  const __mmask16 bad = _mm_cmpgt_epu8_mask(_mm_sub_epi8(most, least), _mm_set1_epi8(3)) |
                        _mm_cmplt_epu8_mask(least, low) | _mm_cmpgt_epu8_mask(most, high);
  if (bad != 0) return false;
  scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu8_epi32(least), 23));
  const __m512i table = load(kFold.value), nibble = _mm512_set1_epi8(15);
  const __m512i spread = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
  for (int b = 0; b < blocks; ++b, tile += kFp4TileBytes, out += 512) {
    __m128i e = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile + 256));
    __m512i shift = _mm512_shuffle_epi8(_mm512_cvtepu8_epi32(_mm_sub_epi8(e, least)), spread);
    shift = _mm512_slli_epi32(shift, 4);  // at most 3 << 4: no bit leaves its byte
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      _mm_prefetch(reinterpret_cast<const char*>(tile) + g * 64 + 4352, _MM_HINT_T0);
      __m512i q = load(tile + g * 64);
      // (q & nibble) | shift
      __m512i lo = _mm512_ternarylogic_epi32(q, nibble, shift, 0xea);
      __m512i hi = _mm512_ternarylogic_epi32(_mm512_srli_epi16(q, 4), nibble, shift, 0xea);
      _mm512_store_si512(out + g * 128, _mm512_permutexvar_epi8(lo, table));
      _mm512_store_si512(out + g * 128 + 64, _mm512_permutexvar_epi8(hi, table));
    }
  }
  return true;
}

// Heads T... of a head tile against two key tiles.
template <int... T>
void folded_heads(std::integer_sequence<int, T...>, const std::uint32_t (*q)[kHeads], const std::int32_t* offset,
                  const float* weight, const std::byte* keys0, const std::byte* keys1, int quads, __m512& s0,
                  __m512& s1) {
  __m512i a[] = {_mm512_set1_epi32(offset[T])...}, b[] = {_mm512_set1_epi32(offset[T])...};
#pragma GCC unroll 4
  for (int k = 0; k < quads; ++k) {
    const __m512i x = load(keys0 + k * 64), y = load(keys1 + k * 64);
    ((a[T] = _mm512_dpbusd_epi32(a[T], x, _mm512_set1_epi32(static_cast<int>(q[k][T]))),
      b[T] = _mm512_dpbusd_epi32(b[T], y, _mm512_set1_epi32(static_cast<int>(q[k][T])))),
     ...);
  }
  const __m512i zero = _mm512_setzero_si512();
  ((s0 = _mm512_fmadd_ps(_mm512_set1_ps(weight[T]), _mm512_cvtepi32_ps(_mm512_max_epi32(a[T], zero)), s0),
    s1 = _mm512_fmadd_ps(_mm512_set1_ps(weight[T]), _mm512_cvtepi32_ps(_mm512_max_epi32(b[T], zero)), s1)),
   ...);
}

// One tile in the exact form.
void exact_tile(const IndexArgs& a, const std::byte* tile, float* out) {
  const int blocks = a.dim / 32;
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
  const __m512i nibble = _mm512_set1_epi8(15);
  __m512 score = _mm512_setzero_ps();
  for (int h = 0; h < a.heads; ++h) {
    __m512 dot = _mm512_setzero_ps();
    for (int b = 0; b < blocks; ++b) {
      const std::byte* w = tile + b * kFp4TileBytes;
      const std::int8_t* q = a.q + static_cast<std::int64_t>(h) * a.dim + 32 * b;
      std::int32_t quads[8], sum = 0;
      __builtin_memcpy(quads, q, 32);
      for (int k = 0; k < 32; ++k) sum += q[k];
      __m512i c = _mm512_set1_epi32(-12 * sum);
      for (int g = 0; g < 4; ++g) {
        __m512i v = load(w + g * 64);
        c = _mm512_dpbusd_epi32(c, _mm512_shuffle_epi8(table, _mm512_and_si512(v, nibble)),
                                _mm512_set1_epi32(quads[2 * g]));
        v = _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble);
        c = _mm512_dpbusd_epi32(c, _mm512_shuffle_epi8(table, v), _mm512_set1_epi32(quads[2 * g + 1]));
      }
      __m512 key = generic::from_e8m0<Lanes>(Lanes::load_u8(reinterpret_cast<const std::uint8_t*>(w + 256)));
      __m512 both = Lanes::mul(Lanes::mul(key, Lanes::set(0.5f)), Lanes::set(a.q_scale[h * blocks + b]));
      dot = Lanes::fma(Lanes::from_int(c), both, dot);
    }
    score = Lanes::fma(Lanes::set(a.weight[h]), Lanes::max(dot, Lanes::zero()), score);
  }
  Lanes::store(out, score);
}

void index_scores_packed(const IndexArgs& a) {
  const int blocks = a.dim / 32;
  const std::int64_t step = blocks * kFp4TileBytes;
  FoldedQuery query;
  const bool folded = fold_query(a, query);
  alignas(64) std::byte keys[2][kMaxDim * 16];
  // Tiles are folded as they come; two that fold are scored together, so that each query word serves two dot products.
  std::int64_t held = -1;
  __m512 scale[2];
  auto score = [&](std::int64_t first, std::int64_t second) {
    __m512 s0 = _mm512_setzero_ps(), s1 = _mm512_setzero_ps();
    for (int h = 0; h < a.heads; h += kHeads)
      folded_heads(std::make_integer_sequence<int, kHeads>(), query.quads[h / kHeads], query.offset + h,
                   query.weight + h, keys[0], second >= 0 ? keys[1] : keys[0], a.dim / 4, s0, s1);
    Lanes::store(a.scores + 16 * first, Lanes::mul(s0, scale[0]));
    if (second >= 0) Lanes::store(a.scores + 16 * second, Lanes::mul(s1, scale[1]));
  };
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    const std::byte* tile = a.tile(t, step);
    const int slot = held < 0 ? 0 : 1;
    if (!folded || !fold_tile(tile, blocks, keys[slot], scale[slot])) {
      exact_tile(a, tile, a.scores + 16 * t);
    } else if (held < 0) {
      held = t;
    } else {
      score(held, t);
      held = -1;
    }
  }
  if (held >= 0) score(held, -1);
}

}  // namespace

void avx512::fill_indexer(KernelTable& table) {
  generic::fill_indexer<Lanes>(table);
  table.index_scores_packed = index_scores_packed;
}

}  // namespace hadal
