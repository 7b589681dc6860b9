// The definition of the products, one weight at a time.
#include "kernels/families.h"
#include "kernels/generic/pack.h"
#include "kernels/scalar/lanes.h"

namespace hadal {
namespace {

using F = Lanes::F;

std::uint8_t byte_at(const std::byte* p) { return static_cast<std::uint8_t>(*p); }

// Code of (row, column k of the block) in a kFp4 tile.
int fp4_code(const std::byte* tile, int row, int k) {
  int byte = byte_at(tile + k / 8 * 64 + row * 4 + k % 4);
  return k % 8 < 4 ? byte & 15 : byte >> 4;
}

// Column k of 16 rows as float32; `run` is the start of the rows' tile run.
F column(Encoding encoding, const std::byte* run, std::int64_t k) {
  F w;
  std::int32_t codes[16];
  switch (encoding) {
    case Encoding::kFp4:
      for (int r = 0; r < 16; ++r) codes[r] = fp4_code(run + k / 32 * kFp4TileBytes, r, static_cast<int>(k % 32));
      return generic::from_e2m1<Lanes>(Lanes::load(codes));
    case Encoding::kFp8:
      for (int r = 0; r < 16; ++r) {
        std::int64_t at = k / 4 * 64 + r / 4 * 16 + k % 4 / 2 * 8 + r % 4 * 2 + k % 2;
        codes[r] = byte_at(run + at);
      }
      return generic::from_e4m3<Lanes, false>(Lanes::load(codes));
    case Encoding::kBf16:
      for (int r = 0; r < 16; ++r) {
        std::uint16_t h;
        std::memcpy(&h, run + k / 2 * 64 + r * 4 + k % 2 * 2, 2);
        w.v[r] = generic::bf16_float<Lanes>(h);
      }
      return w;
    case Encoding::kF32:
      std::memcpy(w.v, run + k * 64, 64);
      return w;
  }
  return Lanes::zero();
}

// Activations of one group of m tokens.
struct Group {
  ActivationKind kind;
  const std::byte* data;
  std::int64_t m, cols;

  const std::uint32_t* words() const { return reinterpret_cast<const std::uint32_t*>(data); }
  float value(std::int64_t k, std::int64_t t) const {
    if (kind == ActivationKind::kF32) return reinterpret_cast<const float*>(data)[k * m + t];
    std::uint32_t pair = words()[k / 2 * m + t];
    return __builtin_bit_cast(float, k % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
  }
  std::int8_t quantized(std::int64_t k, std::int64_t t) const {
    return static_cast<std::int8_t>(words()[k / 4 * m + t] >> (8 * (k % 4)));
  }
  float token_scale(std::int64_t block, std::int64_t t) const {
    return reinterpret_cast<const float*>(words() + cols / 4 * m)[block * m + t];
  }
};

F float_row_block(const PackedMatrix& w, std::int64_t tile, const std::byte* run, const Group& x, std::int64_t t) {
  const std::int64_t step = w.encoding == Encoding::kFp4 ? 32 : 128;
  F acc = Lanes::zero();
  for (std::int64_t begin = 0; begin < w.padded_cols(); begin += step) {
    const std::int64_t end = begin + step < w.padded_cols() ? begin + step : w.padded_cols();
    F chain[2] = {Lanes::zero(), Lanes::zero()};
    for (std::int64_t k = begin; k < end; k += 2) {
      F& c = chain[k / 2 % 2];
      c = Lanes::fma(column(w.encoding, run, k + 1), Lanes::set(x.value(k + 1, t)), c);
      c = Lanes::fma(column(w.encoding, run, k), Lanes::set(x.value(k, t)), c);
    }
    F scale = Lanes::set(1.0f);
    if (w.encoding == Encoding::kFp4) {
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(run + begin / 32 * kFp4TileBytes + 256);
      scale = generic::from_e8m0<Lanes>(Lanes::load_u8(bytes));
    } else if (w.encoding == Encoding::kFp8) {
      scale = Lanes::set(w.scales[tile * w.scale_blocks() + begin / 128]);
    }
    acc = Lanes::fma(Lanes::add(chain[0], chain[1]), scale, acc);
  }
  return acc;
}

F int8_row_block(const PackedMatrix& w, const std::byte* run, const Group& x, std::int64_t t) {
  constexpr int kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  F acc = Lanes::zero();
  for (std::int64_t b = 0; b < w.padded_cols() / 32; ++b) {
    const std::byte* tile = run + b * kFp4TileBytes;
    Lanes::I p;
    F scale;
    for (int r = 0; r < 16; ++r) {
      p.v[r] = 0;
      for (int k = 0; k < 32; ++k) p.v[r] += kDoubled[fp4_code(tile, r, k)] * x.quantized(32 * b + k, t);
      int e = byte_at(tile + 256 + r);
      e = e < kInt8MinScale ? kInt8MinScale : e > kInt8MaxScale ? kInt8MaxScale : e;
      scale.v[r] = generic::e8m0_float<Lanes>(e) * 0.5f * x.token_scale(b, t);
    }
    acc = Lanes::fma(Lanes::from_int(p), scale, acc);
  }
  return acc;
}

void matmul(const PackedMatrix& w, std::int64_t tile_begin, std::int64_t tile_end, const Activations& x, float* y,
            std::int64_t y_stride) {
  for (std::int64_t tile = tile_begin; tile < tile_end; ++tile) {
    const std::byte* run = w.tiles + tile * w.tile_run_bytes();
    const std::int64_t rows = w.rows - tile * kTileRows;
    for (std::int64_t token = 0; token < x.count; ++token) {
      const std::int64_t first = token / kTokenGroup * kTokenGroup;
      Group group{x.kind, x.data + activation_bytes(x.kind, first, x.cols),
                  x.count - first < kTokenGroup ? x.count - first : kTokenGroup, x.cols};
      F result = x.kind == ActivationKind::kInt8 ? int8_row_block(w, run, group, token - first)
                                                 : float_row_block(w, tile, run, group, token - first);
      Lanes::store(y + token * y_stride + tile * kTileRows, result, rows);
    }
  }
}

}  // namespace

void scalar::fill_products(KernelTable& table) {
  table.pack_activations = generic::pack_activations<Lanes>;
  table.matmul = matmul;
}

}  // namespace hadal
