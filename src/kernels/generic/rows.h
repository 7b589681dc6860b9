// Cache rows: attention entries as E4M3 + BF16 and index keys and queries as E2M1 (spec 7.3).
#pragma once

#include "kernels/generic/elementwise.h"

namespace hadal::generic {

// Row bytes: (D - rd) E4M3, rd BF16, one E8M0 per 64 channels, zero padding. The rotary part must start at an even
// offset.
template <class V>
void encode_row(const RowShape& shape, const float* kv, std::byte* row) {
  auto* codes = reinterpret_cast<std::uint8_t*>(row);
  const int nope = shape.nope(), rope = shape.rope_dim;
  std::uint8_t* tail = codes + nope;
  std::uint8_t* scales = tail + 2 * rope;
  for (int b = 0; b < nope; b += 64) {
    int size = nope - b < 64 ? nope - b : 64;
    int e = scale_byte<V>(amax<V>(kv + b, size), kFp8Max, kFp8Floor);
    scales[b / 64] = static_cast<std::uint8_t>(e);
    for (int i = 0; i < size; i += 16) {
      auto code = to_e4m3<V>(scaled<V>(V::load(kv + b + i, size - i), e8m0_inverse<V>(e), kFp8Max));
      std::uint8_t part[16];
      V::store_u8(part, code);
      for (int j = 0; j < 16 && i + j < size; ++j) codes[b + i + j] = part[j];
    }
  }
  for (int i = 0; i < rope; i += 16) {
    std::uint16_t part[16];
    V::store_u16(part, V::template shr<16>(round_bf16<V>(V::load(kv + nope + i, rope - i))));
    int size = rope - i < 16 ? rope - i : 16;
    __builtin_memcpy(tail + 2 * i, part, 2 * static_cast<std::size_t>(size));
  }
  for (std::uint8_t* p = scales + shape.scale_count(); p < codes + shape.packed_bytes(); ++p) *p = 0;
}

template <class V>
void decode_row(const RowShape& shape, const std::byte* row, float* kv) {
  const auto* codes = reinterpret_cast<const std::uint8_t*>(row);
  const int nope = shape.nope(), rope = shape.rope_dim;
  const std::uint8_t* tail = codes + nope;
  const std::uint8_t* scales = tail + 2 * rope;
  for (int b = 0; b < nope; b += 64) {
    int size = nope - b < 64 ? nope - b : 64;
    auto s = V::set(e8m0_float<V>(scales[b / 64]));
    for (int i = 0; i < size; i += 16) {
      std::uint8_t part[16] = {};
      int run = size - i < 16 ? size - i : 16;
      __builtin_memcpy(part, codes + b + i, static_cast<std::size_t>(run));
      V::store(kv + b + i, V::mul(from_e4m3<V>(V::load_u8(part)), s), run);
    }
  }
  for (int i = 0; i < rope; i += 16) {
    std::uint16_t part[16] = {};
    int run = rope - i < 16 ? rope - i : 16;
    __builtin_memcpy(part, tail + 2 * i, 2 * static_cast<std::size_t>(run));
    V::store(kv + nope + i, V::floats(V::template shl<16>(V::load_u16(part))), run);
  }
}

// Codes of 32 channels and their scale byte.
template <class V>
int encode_fp4_block(const float* x, std::uint8_t* codes) {
  int e = scale_byte<V>(amax<V>(x, 32), kFp4Max, kFp4Floor);
  for (int i = 0; i < 32; i += 16)
    V::store_u8(codes + i, to_e2m1<V>(scaled<V>(V::load(x + i), e8m0_inverse<V>(e), kFp4Max)));
  return e;
}

// A key is row `lane` of a kFp4 tile run (weights/packed_matrix.h gives the byte order).
template <class V>
void encode_index_key(const float* key, int dim, std::byte* tile, int lane) {
  auto* out = reinterpret_cast<std::uint8_t*>(tile);
  for (int k = 0; k < dim; k += 32, out += kFp4TileBytes) {
    std::uint8_t codes[32];
    out[256 + lane] = static_cast<std::uint8_t>(encode_fp4_block<V>(key + k, codes));
    for (int g = 0; g < 4; ++g)
      for (int b = 0; b < 4; ++b)
        out[g * 64 + lane * 4 + b] = static_cast<std::uint8_t>(codes[8 * g + b] | codes[8 * g + 4 + b] << 4);
  }
}

template <class V>
void decode_index_key(const std::byte* tile, int lane, int dim, float* key) {
  const auto* in = reinterpret_cast<const std::uint8_t*>(tile);
  for (int k = 0; k < dim; k += 32, in += kFp4TileBytes) {
    std::uint8_t codes[32];
    for (int g = 0; g < 4; ++g)
      for (int b = 0; b < 4; ++b) {
        std::uint8_t q = in[g * 64 + lane * 4 + b];
        codes[8 * g + b] = q & 15;
        codes[8 * g + 4 + b] = q >> 4;
      }
    auto s = V::set(e8m0_float<V>(in[256 + lane]));
    for (int i = 0; i < 32; i += 16) V::store(key + k + i, V::mul(from_e2m1<V>(V::load_u8(codes + i)), s));
  }
}

// Doubled E2M1 values as int8; the scale is halved for it.
template <class V>
void encode_index_query(const float* q, int heads, int dim, std::int8_t* out, float* scales) {
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(heads) * dim; i += 32) {
    std::uint8_t codes[32];
    int e = encode_fp4_block<V>(q + i, codes);
    *scales++ = e8m0_float<V>(e) * 0.5f;
    for (int j = 0; j < 32; j += 16) {
      auto doubled = V::to_int(V::mul(from_e2m1<V>(V::load_u8(codes + j)), V::set(2.0f)));
      V::store_u8(reinterpret_cast<std::uint8_t*>(out + i + j), doubled);
    }
  }
}

template <class V>
void fill_rows(KernelTable& t) {
  t.encode_row = encode_row<V>;
  t.decode_row = decode_row<V>;
  t.encode_index_key = encode_index_key<V>;
  t.decode_index_key = decode_index_key<V>;
  t.encode_index_query = encode_index_query<V>;
}

}  // namespace hadal::generic
