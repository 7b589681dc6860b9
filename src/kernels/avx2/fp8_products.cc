// E4M3 widened by moving bits: sign, exponent and mantissa put into their float32 places are the weight times 2^-120.
// E4M3 subnormals then are float32 denormals, and the processor is told to take those as operands (DAZ off) while this
// runs. Activations are multiplied by 2^106, so a block's sum is 2^-14 of the definition's, bit for bit:
//   * products are multiples of 2^-9 * 2^-103 (the smallest E4M3 step; the last bit of the smallest bfloat16 activation
//     that is not zero, 2^-96) * 2^-14 = 2^-126, and so is every rounded sum: none is a denormal that would be flushed;
//   * activations up to 2^21 stay below 2^128, and sums far below.
// AMD's cores take denormal operands at full speed; Intel's need about 150 cycles for each, which trained weights
// (about one subnormal in 10,000) do not notice.
#include "kernels/avx2/fp8_products.h"

#include <utility>

#include "kernels/avx2/fp8_pair.h"
#include "kernels/avx2/tile.h"

namespace hadal {
namespace {

constexpr float kUp = 0x1p106f, kDown = 0x1p14f;
constexpr std::int32_t kLargest = (127 + 21) << 23;  // 2^21 as bits
constexpr int kPairAhead = 6144;                     // bytes; 4 and 8 KiB measure the same
constexpr int kBuffer = 16384;                       // floats: 4,096 columns of four tokens

// DAZ off from here to the end of the scope. The statements are barriers for memory, so calls do not move across them.
class DenormalOperands {
 public:
  DenormalOperands() : before_(_mm_getcsr()) { set(before_ & ~0x40u); }
  ~DenormalOperands() { set(before_); }
  DenormalOperands(const DenormalOperands&) = delete;
  DenormalOperands& operator=(const DenormalOperands&) = delete;

 private:
  static void set(unsigned csr) { asm volatile("ldmxcsr %0" : : "m"(csr) : "memory"); }
  unsigned before_;
};

// Pairs [cols / 2][m] of tokens first... to floats [cols][n] times kUp; false when one is larger than 2^21.
template <int n>
bool widen(const std::uint32_t* pairs, std::int64_t m, std::int64_t cols, float* out) {
  const __m256 up = _mm256_set1_ps(kUp);
  const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
  __m256i most = _mm256_setzero_si256();
  // kWide words at a time: all of one token, or one pair of each.
  constexpr int kWide = n == 1 ? 8 : n;
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(kWide), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const std::int64_t step = n == 1 ? 8 * m : m;
  for (std::int64_t left = cols / 2; left > 0; left -= kWide / n, pairs += step, out += 2 * kWide) {
    __m256i v;
    if constexpr (n == 1) {
      if (m == 1) {
        v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pairs));
      } else {
        alignas(32) std::uint32_t words[8];
        for (int i = 0; i < 8; ++i) words[i] = pairs[i * m];
        v = _mm256_load_si256(reinterpret_cast<const __m256i*>(words));
      }
    } else {
      v = _mm256_maskload_epi32(reinterpret_cast<const int*>(pairs), mask);
    }
    const __m256 even = low_half(v), odd = high_half(v);
    most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(even), magnitude));
    most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(odd), magnitude));
    const __m256 a = _mm256_mul_ps(even, up), b = _mm256_mul_ps(odd, up);
    if constexpr (n == 1) {
      const __m256 low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
      _mm256_storeu_ps(out, _mm256_permute2f128_ps(low, high, 0x20));
      _mm256_storeu_ps(out + 8, _mm256_permute2f128_ps(low, high, 0x31));
    } else {
      _mm256_maskstore_ps(out, mask, a);
      _mm256_maskstore_ps(out + n, mask, b);
    }
  }
  return _mm256_movemask_epi8(_mm256_cmpgt_epi32(most, _mm256_set1_epi32(kLargest))) == 0;
}

// Four columns of eight rows: even[p] and odd[p] of column pair p.
struct Weights {
  __m256 even[2], odd[2];
  explicit Weights(const std::byte* p) {
    const __m256i zero = _mm256_setzero_si256(), keep = _mm256_set1_epi16(static_cast<short>(0x87f0));
    const __m256i q = load(p);
    // A word holds one row's pair. 16 times the even byte, signed, is sssss eeee mmm 0000: a bfloat16 once the copies
    // of the sign are gone. The odd byte needs a shift only.
    const __m256i e = _mm256_and_si256(_mm256_maddubs_epi16(_mm256_set1_epi16(16), q), keep);
    const __m256i o = _mm256_and_si256(_mm256_srai_epi16(q, 4), keep);
    even[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, e));
    even[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, e));
    odd[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, o));
    odd[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, o));
  }
};

struct Job {
  const PackedMatrix& w;
  const float* x;  // [cols][n]
  float* y;        // row 0, first token
  std::int64_t y_stride;
};

// acc + (c + d) * scale. A denormal scale counts as zero in the definition, which has DAZ on.
__m256 add_block(__m256 acc, __m256 c, __m256 d, float scale) {
  const __m256 s = _mm256_set1_ps(scale < 0x1p-126f && scale > -0x1p-126f ? 0.0f : scale);
  return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_add_ps(c, d), _mm256_set1_ps(kDown)), s, acc);
}

// n tokens against H halves of a tile from `begin`; accumulator A is half A / n, token A % n.
template <int H, int n, int... A>
[[gnu::noinline]] void tile_of(std::integer_sequence<int, A...>, const Job& job, std::int64_t tile, int begin) {
  const PackedMatrix& w = job.w;
  const std::byte* p = w.tiles + tile * w.tile_run_bytes() + 32 * begin;
  const float *x = job.x, *scale = w.scales + tile * w.scale_blocks();
  __m256 f[] = {((void)A, _mm256_setzero_ps())...};
  std::int64_t left = w.padded_cols();
  if constexpr (H == 2 && n == 1) {
    for (; left >= kPairColumns; left -= kPairColumns, p += kPairBytes, x += kPairColumns, scale += 2) {
      __m256 s[8];
      two_blocks(p, x, kPairAhead, s);
      for (int block = 0; block < 2; ++block)
        for (int half = 0; half < 2; ++half)
          f[half] = add_block(f[half], s[4 * block + 2 * half], s[4 * block + 2 * half + 1], scale[block]);
    }
  }
  for (; left > 0; left -= 128, ++scale) {
    __m256 c[] = {((void)A, _mm256_setzero_ps())...}, d[] = {((void)A, _mm256_setzero_ps())...};
    for (int i = static_cast<int>(left < 128 ? left : 128) / 4; i > 0; --i, p += 64, x += 4 * n) {
      prefetch(p);
      const Weights v[] = {Weights(p), Weights(p + 32 * (H - 1))};
      // NOLINTBEGIN(clang-analyzer-core.CallAndMessage): widen() filled x, which has as many columns as this loop
      ((c[A] = _mm256_fmadd_ps(v[A / n].odd[0], _mm256_set1_ps(x[n + A % n]), c[A])), ...);
      ((c[A] = _mm256_fmadd_ps(v[A / n].even[0], _mm256_set1_ps(x[A % n]), c[A])), ...);
      ((d[A] = _mm256_fmadd_ps(v[A / n].odd[1], _mm256_set1_ps(x[3 * n + A % n]), d[A])), ...);
      ((d[A] = _mm256_fmadd_ps(v[A / n].even[1], _mm256_set1_ps(x[2 * n + A % n]), d[A])), ...);
      // NOLINTEND(clang-analyzer-core.CallAndMessage)
    }
    ((f[A] = add_block(f[A], c[A], d[A], *scale)), ...);
  }
  (store_half(f[A], w.rows - tile * kTileRows, 8 * (begin + A / n), job.y + tile * kTileRows + A % n * job.y_stride),
   ...);
}

template <int n>
bool tiles(const PackedMatrix& w, std::int64_t tile_begin, std::int64_t tile_end, const std::byte* group,
           std::int64_t m, std::int64_t first, float* y, std::int64_t y_stride) {
  if (w.padded_cols() * n > kBuffer) return false;
  alignas(32) float x[kBuffer];
  if (!widen<n>(reinterpret_cast<const std::uint32_t*>(group) + first, m, w.padded_cols(), x)) return false;
  const Job job{w, x, y + first * y_stride, y_stride};
  const DenormalOperands on;
  for (std::int64_t tile = tile_begin; tile < tile_end; ++tile) {
    if constexpr (n <= 2) {
      tile_of<2, n>(std::make_integer_sequence<int, 2 * n>(), job, tile, 0);
    } else {
      tile_of<1, n>(std::make_integer_sequence<int, n>(), job, tile, 0);
      tile_of<1, n>(std::make_integer_sequence<int, n>(), job, tile, 1);
    }
  }
  return true;
}

}  // namespace

bool avx2::multiply_fp8(const PackedMatrix& w, std::int64_t tile_begin, std::int64_t tile_end, const std::byte* group,
                        std::int64_t m, std::int64_t first, std::int64_t n, float* y, std::int64_t y_stride) {
  switch (n) {
    case 1:
      return tiles<1>(w, tile_begin, tile_end, group, m, first, y, y_stride);
    case 2:
      return tiles<2>(w, tile_begin, tile_end, group, m, first, y, y_stride);
    case 3:
      return tiles<3>(w, tile_begin, tile_end, group, m, first, y, y_stride);
    default:
      return tiles<4>(w, tile_begin, tile_end, group, m, first, y, y_stride);
  }
}

}  // namespace hadal
