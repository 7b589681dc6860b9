// Indexer scores, lanes = keys. A tile's 16 keys are unpacked once to doubled values + 12 (0..24, unsigned bytes), then
// every head takes them by vpmaddubsw; a block's pair sums stay below 32767 (8 * 2 * 24 * 12 = 4608).
#include "kernels/generic/indexer.h"

#include <immintrin.h>

#include "kernels/avx2/lanes.h"
#include "kernels/families.h"

namespace hadal {
namespace {

constexpr int kMaxBlocks = 8;   // of 32 channels; a wider key takes the generic form,
constexpr int kMaxHeads = 128;  // and so do more heads

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// keys [block][quad 0..7][16 keys][4 bytes]
void unpack_tile(const std::byte* tile, int blocks, std::byte* keys) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int b = 0; b < blocks; ++b, tile += kFp4TileBytes, keys += 512)
    for (int i = 0; i < 8; ++i) {  // half a group of 8 columns: 8 keys
      const __m256i q = load(tile + 32 * i);
      std::byte* out = keys + i / 2 * 128 + i % 2 * 32;
      _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm256_shuffle_epi8(table, _mm256_and_si256(q, nibble)));
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + 64),
                         _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(q, 4), nibble)));
    }
}

// q . key of one block for 16 keys, as integers.
Lanes::I dot_block(const std::byte* keys, const std::int8_t* q, std::int32_t offset) {
  __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) {
    std::int32_t quad;
    __builtin_memcpy(&quad, q + 4 * k, 4);
    const __m256i four = _mm256_set1_epi32(quad);
    sums[k % 2] = _mm256_add_epi16(sums[k % 2], _mm256_maddubs_epi16(load(keys + 64 * k), four));
    sums[2 + k % 2] = _mm256_add_epi16(sums[2 + k % 2], _mm256_maddubs_epi16(load(keys + 64 * k + 32), four));
  }
  const __m256i ones = _mm256_set1_epi16(1), start = _mm256_set1_epi32(offset);
  return {_mm256_add_epi32(_mm256_madd_epi16(_mm256_add_epi16(sums[0], sums[1]), ones), start),
          _mm256_add_epi32(_mm256_madd_epi16(_mm256_add_epi16(sums[2], sums[3]), ones), start)};
}

void index_scores_packed(const IndexArgs& a) {
  const int blocks = a.dim / 32;
  if (blocks > kMaxBlocks || a.heads > kMaxHeads) return generic::index_scores_packed<Lanes>(a);
  alignas(32) std::byte keys[kMaxBlocks * 512];
  std::int32_t offsets[kMaxHeads * kMaxBlocks];  // -12 times the sum of a block's bytes
  for (int i = 0; i < a.heads * blocks; ++i) {
    std::int32_t sum = 0;
    for (int k = 0; k < 32; ++k) sum += a.q[32 * i + k];
    offsets[i] = -12 * sum;
  }
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    const std::byte* tile = a.tile(t, blocks * kFp4TileBytes);
    unpack_tile(tile, blocks, keys);
    Lanes::F key_scale[kMaxBlocks];
    for (int b = 0; b < blocks; ++b) {
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(tile + b * kFp4TileBytes + 256);
      key_scale[b] = Lanes::mul(generic::from_e8m0<Lanes>(Lanes::load_u8(bytes)), Lanes::set(0.5f));
    }
    Lanes::F score = Lanes::zero();
    for (int h = 0; h < a.heads; ++h) {
      Lanes::F dot = Lanes::zero();
      for (int b = 0; b < blocks; ++b) {
        const int i = h * blocks + b;
        // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): i runs over what the first loop filled
        const Lanes::I p = dot_block(keys + b * 512, a.q + 32 * i, offsets[i]);
        dot = Lanes::fma(Lanes::from_int(p), Lanes::mul(key_scale[b], Lanes::set(a.q_scale[i])), dot);
      }
      score = Lanes::fma(Lanes::set(a.weight[h]), Lanes::max(dot, Lanes::zero()), score);
    }
    Lanes::store(a.scores + 16 * t, score);
  }
}

}  // namespace

void avx2::fill_indexer(KernelTable& table) {
  generic::fill_indexer<Lanes>(table);
  table.index_scores_packed = index_scores_packed;
}

}  // namespace hadal
