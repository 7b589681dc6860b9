// Indexer scores, lanes = keys. A tile's 16 keys are unpacked once to doubled values + 12 (0..24, unsigned bytes), then
// every head takes them by vpmaddubsw; a block's pair sums stay below 32767 (8 * 2 * 24 * 12 = 4608).
#include "kernels/generic/indexer.h"

#include <immintrin.h>

#include "kernels/avx2/lanes.h"
#include "kernels/families.h"

namespace hadal {
namespace {

constexpr int kMaxBlocks = 8;  // of 32 channels; a wider key takes the generic form

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

// q . key of one block for 8 keys, as an integer.
__m256i dot_block(const std::byte* keys, const std::int32_t* quads, std::int32_t offset) {
  auto product = [&](int k) { return _mm256_maddubs_epi16(load(keys + 64 * k), _mm256_set1_epi32(quads[k])); };
  __m256i a = product(0), c = product(1);
  a = _mm256_add_epi16(a, product(2)), c = _mm256_add_epi16(c, product(3));
  a = _mm256_add_epi16(a, product(4)), c = _mm256_add_epi16(c, product(5));
  a = _mm256_add_epi16(a, product(6)), c = _mm256_add_epi16(c, product(7));
  const __m256i sum = _mm256_madd_epi16(_mm256_add_epi16(a, c), _mm256_set1_epi16(1));
  return _mm256_add_epi32(sum, _mm256_set1_epi32(offset));
}

void index_scores_packed(const IndexArgs& a) {
  const int blocks = a.dim / 32;
  if (blocks > kMaxBlocks) return generic::index_scores_packed<Lanes>(a);
  alignas(32) std::byte keys[kMaxBlocks * 512];
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
        std::int32_t quads[8];
        __builtin_memcpy(quads, a.q + static_cast<std::int64_t>(h) * a.dim + 32 * b, 32);
        // The sum of the block's bytes: biased to unsigned, added up in groups of eight.
        const __m256i biased = _mm256_xor_si256(load(quads), _mm256_set1_epi8(static_cast<char>(0x80)));
        const __m256i parts = _mm256_sad_epu8(biased, _mm256_setzero_si256());
        const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(parts), _mm256_extracti128_si256(parts, 1));
        const int sum = _mm_cvtsi128_si32(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two))) - 32 * 128;
        const Lanes::I p = {dot_block(keys + b * 512, quads, -12 * sum),
                            dot_block(keys + b * 512 + 32, quads, -12 * sum)};
        dot = Lanes::fma(Lanes::from_int(p), Lanes::mul(key_scale[b], Lanes::set(a.q_scale[h * blocks + b])), dot);
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
