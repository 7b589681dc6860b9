// Activations interleaved by groups of kTokenGroup tokens, as the products read them (layout in kernels.h).
#pragma once

#include "kernels/generic/formats.h"
#include "kernels/kernels.h"

namespace hadal::generic {

// Scale of 32 int8 activations; blocks whose largest value is below 2^-60 count as zero and get scale 1, so that the
// exponent of a scale may be moved by integer addition.
inline constexpr float kInt8Floor = 0x1p-60f, kInt8Ceiling = 0x1p60f;

template <class V>
void quantize_int8(const float* x, std::uint32_t* quads, float& scale, std::int32_t& offset) {
  float top = amax<V>(x, 32);
  top = top < kInt8Ceiling ? top : kInt8Ceiling;
  const bool empty = !(top >= kInt8Floor);
  const float inverse = empty ? 0.0f : 127.0f / top;
  auto* bytes = reinterpret_cast<std::uint8_t*>(quads);
  std::int32_t total[16];
  auto sum = V::iset(0);
  for (int i = 0; i < 32; i += 16) {
    auto v = V::max(V::min(V::mul(V::load(x + i), V::set(inverse)), V::set(127.0f)), V::set(-127.0f));
    auto q = V::to_int(v);
    sum = V::add(sum, q);
    V::store_u8(bytes + i, q);
  }
  V::store(total, sum);
  std::int32_t all = 0;
  for (int i = 0; i < 16; ++i) all += total[i];
  scale = empty ? 1.0f : top / 127.0f;
  offset = -12 * all;
}

// 32 columns of one token, zeros beyond the row's end.
template <class V>
const float* padded_block(const float* row, std::int64_t k, std::int64_t cols, float* space) {
  if (k + 32 <= cols) return row + k;
  for (int i = 0; i < 32; ++i) space[i] = k + i < cols ? row[k + i] : 0.0f;
  return space;
}

// Magnitudes below 2^-96 become zero: products with any E4M3 weight then stay clear of the denormal range in every set.
template <class V>
typename V::I bf16_activation(typename V::F x) {
  auto r = round_bf16<V>(x);
  auto small = V::less(abs<V>(V::floats(r)), V::set(0x1p-96f));
  return V::select(small, V::iset(0), r);
}

static_assert(kTokenGroup == 8);  // V::transpose8 takes a whole group

template <class V>
void pack_activations(ActivationKind kind, const float* x, std::int64_t x_stride, const std::int32_t* tokens,
                      std::int64_t count, std::int64_t cols, std::byte* out) {
  const std::int64_t padded = (cols + kColumnPad - 1) / kColumnPad * kColumnPad;
  auto* words = reinterpret_cast<std::uint32_t*>(out);
  for (std::int64_t first = 0; first < count; first += kTokenGroup) {
    const int m = static_cast<int>(count - first < kTokenGroup ? count - first : kTokenGroup);
    // Words of the group: cols * m, cols/2 * m, or cols/4 * m quads, then cols/32 * m scales and offsets.
    auto* scales = reinterpret_cast<float*>(words + padded / 4 * m);
    auto* offsets = reinterpret_cast<std::int32_t*>(scales + padded / 32 * m);
    const int size = kind == ActivationKind::kF32 ? 32 : kind == ActivationKind::kBf16 ? 16 : 8;  // words of 32 columns
    for (std::int64_t k = 0; k < padded; k += 32) {
      std::uint32_t* to = words + k / 32 * size * m;
      std::uint32_t part[kTokenGroup][32];
      for (int t = 0; t < m; ++t) {
        const std::int64_t row = tokens != nullptr ? tokens[first + t] : first + t;
        float space[32];
        const float* v = padded_block<V>(x + row * x_stride, k, cols, space);
        std::uint32_t* out_words = m == 1 ? to : part[t];  // one token needs no interleaving
        if (kind == ActivationKind::kF32) {
          __builtin_memcpy(out_words, v, 128);
        } else if (kind == ActivationKind::kBf16) {
          auto* halves = reinterpret_cast<std::uint16_t*>(out_words);
          for (int i = 0; i < 32; i += 16)
            V::store_u16(halves + i, V::template shr<16>(bf16_activation<V>(V::load(v + i))));
        } else {
          quantize_int8<V>(v, out_words, scales[k / 32 * m + t], offsets[k / 32 * m + t]);
        }
      }
      if (m == 1) continue;
      if (m == kTokenGroup) {
        for (int i = 0; i < size; i += 8) V::transpose8(&part[0][i], 32, to + i * m);
      } else {
        for (int i = 0; i < size; ++i)
          for (int t = 0; t < m; ++t) to[i * m + t] = part[t][i];
      }
    }
    words += kind == ActivationKind::kF32    ? padded * m
             : kind == ActivationKind::kBf16 ? padded / 2 * m
                                             : (padded / 4 + padded / 16) * m;
  }
}

}  // namespace hadal::generic
