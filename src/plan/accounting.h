// Cache bytes and FLOPs per token, counted from a configuration alone (report, chapter "long context").
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "plan/published.h"
#include "weights/config.h"
#include "weights/tensor_table.h"

namespace hadal {

// --- key-value cache

// Bytes of one attention entry and of one index key under one way of counting.
struct CacheCounting {
  std::string_view name;
  std::int64_t entry_bytes = 0;
  std::int64_t key_bytes = 0;
};

CacheCounting packed_counting(
    const ModelConfig& config);  // FP8 + BF16 rotary + scales; FP4 keys + scales: what hadal stores
CacheCounting payload_counting(const ModelConfig& config);   // the same without scale bytes
CacheCounting fp8_keys_counting(const ModelConfig& config);  // packed entries, index keys in FP8 with a float scale
CacheCounting bf16_counting(const ModelConfig& config);      // everything in bfloat16
std::vector<CacheCounting> all_countings(const ModelConfig& config);

// Growth per token, in the limit of a long context.
double cache_bytes_per_token(const ModelConfig& config, const CacheCounting& counting);
// Compressed entries and index keys after n tokens.
std::int64_t growing_bytes(const ModelConfig& config, const CacheCounting& counting, std::int64_t n);
// The sliding windows, constant.
std::int64_t window_bytes(const ModelConfig& config, const CacheCounting& counting);
// Open and previous compressor windows at their fullest, float32 rows, constant.
std::int64_t open_window_bytes(const ModelConfig& config);

// V3.2 as served: FP8 latent with four float scales, BF16 rotary part, FP8 index key with a float scale. Or all in
// bfloat16.
std::int64_t v32_bytes_per_token(const V32Config& config, bool bf16);
std::int64_t gqa_bytes_per_token(const Gqa8Config& config);

// --- floating-point operations of one decoded token at context n; a multiply-add counts 2

struct FlopCount {
  double fp8_linear = 0;   // attention projections, shared expert, indexer queries
  double experts = 0;      // routed experts (FP4 weights)
  double wide_linear = 0;  // BF16 and float32 products: router, compressors, hyper-connections, head
  double index = 0;        // index scores
  double attention = 0;    // q.k and p.v
  double total() const { return fp8_linear + experts + wide_linear + index + attention; }
};

FlopCount decode_flops(const ModelConfig& config, const TensorTable& table, std::int64_t n);
FlopCount decode_flops(const V32Config& config, std::int64_t n);

// Costs relative to one FP8 operation. The report's "equivalent FP8 FLOPs": FP4 x FP8 counts like FP8, products of two
// FP4 numbers half, bfloat16 double.
struct FlopWeights {
  double experts = 1, wide_linear = 2, index = 0.5, attention = 2;
};
constexpr FlopWeights kEquivalentV4{};
constexpr FlopWeights kEquivalentV32{.index = 1};  // its index keys are FP8
constexpr FlopWeights kRaw{.experts = 1, .wide_linear = 1, .index = 1, .attention = 1};

double weighted_flops(const FlopCount& flops, const FlopWeights& weights);

// --- bytes read for one decoded token at context n, cache part: entries attended and index keys scanned
struct CacheReads {
  double entries = 0, keys = 0;
};
CacheReads decode_cache_reads(const ModelConfig& config, const CacheCounting& counting, std::int64_t n);

}  // namespace hadal
