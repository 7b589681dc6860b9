// Lightning indexer scores (spec 5.2): score[key] = sum_h weight_h * max(0, q_h . key), heads ascending by fma.
// Packed: q_h . key = sum over blocks of 32 of fma(p, key_scale/2 * q_scale, .), p the exact integer sum of doubled
// values.
#pragma once

#include "kernels/generic/elementwise.h"

namespace hadal::generic {

// Reads only what every set shares; the faster sets replace it.
template <class V>
void index_scores_packed(const IndexArgs& a) {
  const int blocks = a.dim / 32;
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    const auto* tile = reinterpret_cast<const std::uint8_t*>(a.tile(t, blocks * kFp4TileBytes));
    auto score = V::zero();
    for (int h = 0; h < a.heads; ++h) {
      auto dot = V::zero();
      for (int b = 0; b < blocks; ++b) {
        const std::uint8_t* w = tile + b * kFp4TileBytes;
        const std::int8_t* q = a.q + static_cast<std::int64_t>(h) * a.dim + 32 * b;
        std::int32_t sums[16];
        for (int lane = 0; lane < 16; ++lane) {
          constexpr std::int8_t kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
          std::int32_t s = 0;
          for (int k = 0; k < 32; ++k) {
            std::uint8_t byte = w[k / 8 * 64 + lane * 4 + k % 4];
            s += kDoubled[k % 8 < 4 ? byte & 15 : byte >> 4] * q[k];
          }
          sums[lane] = s;
        }
        auto key_scale = V::mul(from_e8m0<V>(V::load_u8(w + 256)), V::set(0.5f));
        auto both = V::mul(key_scale, V::set(a.q_scale[h * blocks + b]));
        dot = V::fma(V::from_int(V::load(sums)), both, dot);
      }
      score = V::fma(V::set(a.weight[h]), V::max(dot, V::zero()), score);
    }
    V::store(a.scores + 16 * t, score);
  }
}

// Keys are float [dim]; each dot product is a reduction over 16 lanes.
template <class V>
void index_scores_f32(const IndexArgs& a) {
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    const auto* key = reinterpret_cast<const float*>(a.tile(t, a.dim * std::int64_t{sizeof(float)}));
    float score = 0;
    for (int h = 0; h < a.heads; ++h) {
      auto acc = V::zero();
      for (int i = 0; i < a.dim; i += 16)
        acc = V::fma(V::load(a.q_f32 + static_cast<std::int64_t>(h) * a.dim + i, a.dim - i),
                     V::load(key + i, a.dim - i), acc);
      float dot = V::sum(acc);
      score = __builtin_fmaf(a.weight[h], dot > 0 ? dot : 0.0f, score);
    }
    a.scores[t] = score;
  }
}

template <class V>
void fill_indexer(KernelTable& t) {
  t.index_scores_packed = index_scores_packed<V>;
  t.index_scores_f32 = index_scores_f32<V>;
}

}  // namespace hadal::generic
