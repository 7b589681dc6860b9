// The function table: every arithmetic operation of the engine, once per instruction set.
//
// Contract, for every entry and every instruction set:
//  * The scalar entry is the definition. AVX2 and AVX-512 give THE SAME BITS (tests and a fuzz target compare them), so
//  a
//    session may move between machines. Threads that call kernels have flush-to-zero and denormals-are-zero set
//    (machine/thread_pool.h does it), because vdpbf16ps always behaves so.
//  * A result depends on the token's own row only: never on how many tokens share the call, on tile ranges or threads.
//  * No allocation, no checks of arguments beyond assert: callers own validation.
//
// Reductions over a vector ("16 lanes"): lane l accumulates elements l, l+16, ... with fused multiply-add in ascending
// order; lanes are then added pairwise, distance 8, 4, 2, 1. Elements beyond n count as zero.
//
// Products y[r] = sum_k W[r,k] x[k]: columns in blocks (kFp4 32, others 128), block partials p combined in ascending
// order by acc = fma(p, scale, acc), acc from 0; scale is 1 for kBf16 and kF32. Inside a block
//   kF32, kBf16 activations  column pairs; pair q goes to chain q mod 2, odd column first, then even, each by fma (this
//   is
//                            what vdpbf16ps computes); p = c0+c1
//   kInt8 activations        (kFp4 only) p = exact integer sum of (2*w)*x, as float; scale = row scale / 2 * token
//   scale.
//                            Row scales count as at least 2^-58 and at most 2^60 here, so that the product of scales is
//                            an integer addition to the exponent.
// Weight codes 0x7F and 0xFF of kFp8 (NaN) read as 480 here; the loader refuses them.
// The same bits are promised for activations up to 2^100 in magnitude; beyond that, sets may differ in which infinity
// or NaN they give.
#pragma once

#include <cstddef>
#include <cstdint>

#include "weights/packed_matrix.h"

namespace hadal {

enum class ActivationKind : std::uint8_t {
  kF32,   // any encoding
  kBf16,  // kFp4, kFp8, kBf16: activations rounded to nearest even bfloat16; below 2^-96 they count as zero
  kInt8,  // kFp4: per 32 columns, scale = amax/127, x * (127/amax) rounded to nearest even; blocks below 2^-60 are zero
};

// Tokens whose activations are interleaved for one pass over a weight tile: 8 accumulators of two chains still fit in
// 32 vector registers.
constexpr int kTokenGroup = 8;

// E8M0 bytes that row scales are clamped to in kInt8 products: 2^-58 and 2^60. Half the least times the least token
// scale, 2^-60 / 127, is just above 2^-126.
constexpr int kInt8MinScale = 69, kInt8MaxScale = 187;

// Packed activations, a view into a buffer of activation_bytes(). Groups of kTokenGroup tokens follow each other; the
// last group may be smaller. Inside a group of m tokens:
//   kF32 float [cols][m], kBf16 uint32 pairs [cols/2][m], kInt8 uint32 quads [cols/4][m] then float scale [cols/32][m]
//   then int32 offset [cols/32][m] (-12 * sum of the block's int8, for the unsigned form of FP4 in dot products).
struct Activations {
  ActivationKind kind = ActivationKind::kF32;
  std::int64_t count = 0;  // tokens
  std::int64_t cols = 0;   // padded to kColumnPad; padding is zero
  const std::byte* data = nullptr;
};
std::int64_t activation_bytes(ActivationKind kind, std::int64_t count, std::int64_t cols);

// Geometry of attention rows. Packed row (trained numerics), bytes in this order: (D - rd) E4M3, rd BF16, one E8M0 per
// 64 E4M3 channels, zero padding to a multiple of 8. D = 512, rd = 64: 448 + 128 + 7 + 1 = 584.
struct RowShape {
  int head_dim = 0;  // D
  int rope_dim = 0;  // rd
  int nope() const { return head_dim - rope_dim; }
  int scale_count() const { return (nope() + 63) / 64; }
  int packed_bytes() const { return (nope() + 2 * rope_dim + scale_count() + 7) / 8 * 8; }
};

// One query token against a list of rows, some heads. Rows come in fixed blocks of kAttendBlock by list index; a null
// pointer is a masked row. Softmax is accumulated block by block with a running maximum over visible rows (sink not
// included).
constexpr int kAttendBlock = 64;  // rows widened together
constexpr int kAttendSegment =
    1024;  // rows per partial result; partials merge in ascending order, so threads may split there
struct AttendArgs {
  RowShape shape;
  int heads = 0;
  const float* q = nullptr;                // [heads][D], rotated
  const std::byte* const* rows = nullptr;  // [row_count], at most kAttendSegment, packed rows or float rows by entry
  std::int64_t row_count = 0;
  float scale = 0;               // D^-0.5
  float* max = nullptr;          // out [heads]; -inf when nothing was visible
  float* sum = nullptr;          // out [heads]
  float* acc = nullptr;          // out [heads][D], unnormalised
  std::byte* scratch = nullptr;  // attend_scratch_bytes(), 64-byte aligned
};

// Index keys: tiles of 16 keys, lanes = keys, laid out exactly as a kFp4 PackedMatrix with one row per key (68 bytes a
// key at dim 128).
struct IndexArgs {
  int heads = 0, dim = 0;          // dim a multiple of 32
  const std::int8_t* q = nullptr;  // [heads][dim], doubled E2M1 values (-12 .. 12)
  const float* q_scale = nullptr;  // [heads][dim/32], powers of two, halved once for the doubling
  const float* weight = nullptr;   // [heads]
  // Pages of `page_tiles` tiles (packed; 16 keys each) or keys (float [dim]); `tiles` of them in all, so that the last
  // page may be short. One call prepares its query once.
  const std::byte* const* pages = nullptr;
  std::int64_t page_tiles = 0, tiles = 0;
  float* scores = nullptr;       // out [tiles*16] or [keys]
  const float* q_f32 = nullptr;  // float entry only: [heads][dim]

  const std::byte* tile(std::int64_t t, std::int64_t bytes) const {
    return pages[t / page_tiles] + t % page_tiles * bytes;
  }
};

struct KernelTable {
  const char* name;  // "scalar", "avx2", "avx512"

  // --- products
  // x [count] rows of `cols` floats at stride x_stride; `tokens` (may be null) selects rows by index. Fills `out`.
  void (*pack_activations)(ActivationKind kind, const float* x, std::int64_t x_stride, const std::int32_t* tokens,
                           std::int64_t count, std::int64_t cols, std::byte* out);
  // y[t * y_stride + row] for rows of tiles [tile_begin, tile_end); rows beyond w.rows are not written.
  void (*matmul)(const PackedMatrix& w, std::int64_t tile_begin, std::int64_t tile_end, const Activations& x, float* y,
                 std::int64_t y_stride);

  // --- small operators; n need not be a multiple of 16
  void (*rms_norm)(const float* x, const float* weight_or_null, std::int64_t n, float eps, float* out);  // out may be x
  float (*rms_scale)(const float* x, std::int64_t n, float eps);  // 1/sqrt(mean(x^2)+eps)
  void (*rotate)(float* x, const float* cos, const float* sin,
                 std::int64_t pairs);  // adjacent pairs; pass -sin to invert
  void (*swiglu)(const float* gate, const float* up, float limit, float weight, std::int64_t n, float* out);
  void (*axpy)(float a, const float* x, std::int64_t n, float* y);    // y = fma(a, x, y)
  void (*scale)(float a, const float* x, std::int64_t n, float* y);   // y = a*x
  void (*sqrt_softplus)(const float* x, std::int64_t n, float* out);  // sqrt(ln(1+e^x)), the router's score
  void (*sigmoid)(const float* x, std::int64_t n, float* out);
  void (*widen_bf16)(const std::uint16_t* x, std::int64_t n, float* out);
  // Per channel: softmax over `members` gates, weighted sum of values. values[i], gates[i] point at [channels].
  void (*pool)(const float* const* values, const float* const* gates, int members, std::int64_t channels, float* out);
  void (*hadamard)(float* x, std::int64_t n);  // Sylvester order, scaled by n^-0.5; n a power of two
  void (*round_fp8)(float* x, std::int64_t n, std::int64_t block);  // FP8 round trip in place (spec 7.2)
  void (*round_fp4)(float* x, std::int64_t n, std::int64_t block);
  // hyper-connection: mix [2n + n*n] raw outputs of fn already multiplied by the rms scale -> pre [n], post [n], comb
  // [n][n] (spec 3)
  void (*hc_coefficients)(const float* mix, const float* base, const float* scale, int n, int sinkhorn_iters, float eps,
                          float* pre, float* post, float* comb);
  void (*hc_pre)(const float* streams, const float* pre, int n, std::int64_t d, float* out);  // out = sum_j pre_j X_j
  void (*hc_post)(const float* y, const float* post, const float* comb, int n, std::int64_t d,
                  float* streams);  // in place

  // --- cache rows
  void (*encode_row)(const RowShape& shape, const float* kv, std::byte* row);
  void (*decode_row)(const RowShape& shape, const std::byte* row, float* kv);
  void (*encode_index_key)(const float* key, int dim, std::byte* tile, int lane);  // key after Hadamard; rounds to FP4
  void (*decode_index_key)(const std::byte* tile, int lane, int dim, float* key);
  void (*encode_index_query)(const float* q, int heads, int dim, std::int8_t* out, float* scales);  // after Hadamard

  // --- attention
  std::int64_t (*attend_scratch_bytes)(const RowShape& shape, int heads);
  void (*attend_packed)(const AttendArgs& args);  // q and p rounded to bfloat16, products as kBf16 chains
  void (*attend_f32)(const AttendArgs& args);     // rows are float [D]
  // Merges `count` partials, adds the sink to the denominator, writes out [heads][D]. Partials: max/sum [count][heads],
  // acc [count][heads][D].
  void (*attend_merge)(const float* max, const float* sum, const float* acc, int count, int heads, int head_dim,
                       const float* sinks, float* out);
  void (*index_scores_packed)(const IndexArgs& args);
  void (*index_scores_f32)(const IndexArgs& args);
  // Indices of the k largest of n scores, ascending by index; ties keep the lower index. scratch: n int32.
  void (*top_k)(const float* scores, std::int64_t n, std::int64_t k, std::int32_t* out, std::int32_t* scratch);
};

// The best table this machine runs, or the one HADAL_ISA=scalar|avx2|avx512 asks for (an error if it cannot run here).
// Chosen once, at first use.
const KernelTable& kernels();

// The tables this machine can run, scalar first. For tests and `hadal bench`.
struct KernelTables {
  const KernelTable* list[3];
  int count;
};
KernelTables available_kernels();

// Their names, and why one was left out, for people: "scalar, avx2, avx512".
const char* kernel_sets_text();

}  // namespace hadal
