// One query token's heads against a list of shared key-value rows, float32 lanes = rows for scores, channels for
// outputs. This form defines the bits; a set with bfloat16 dot products replaces attend_packed.
//
// A block of kAttendBlock rows:
//   s[h][j]  one chain over channel pairs, ascending, odd channel first, then even, each by fma; then times scale
//   m        running maximum over visible rows; when it rises, acc and sum are multiplied by exp(old - new)
//   e[j]     exp(s - m), 0 for masked rows; sum += lanes of e added over the block's four runs of 16, then pairwise
//   acc[d]   one chain continuing over row pairs, odd row first, with p = e (packed rows: e rounded to bfloat16)
#pragma once

#include <utility>

#include "kernels/generic/rows.h"

namespace hadal::generic {

struct AttendScratch {
  float* keys;    // [kAttendBlock / 16][D][16]
  float* values;  // [kAttendBlock][D]
  float* q;       // [heads][D]
  float* scores;  // [heads][kAttendBlock]
};

template <class V>
std::int64_t attend_scratch_bytes(const RowShape& shape, int heads) {
  std::int64_t d = (shape.head_dim + 15) / 16 * 16;
  return 4 * (2 * d * kAttendBlock + heads * (d + kAttendBlock));
}

// Scores of heads h + T... against 16 rows: keys [d][16], q and s at their strides.
template <class V, int... T>
void score_tile(std::integer_sequence<int, T...>, const float* q, int q_stride, const float* keys, int d, float* s) {
  typename V::F c[] = {((void)T, V::zero())...};
  for (int i = 0; i < d; i += 2, keys += 32) {
    auto even = V::load(keys), odd = V::load(keys + 16);
    ((c[T] = V::fma(V::set(q[T * q_stride + i + 1]), odd, c[T])), ...);
    ((c[T] = V::fma(V::set(q[T * q_stride + i]), even, c[T])), ...);
  }
  (V::store(s + T * kAttendBlock, c[T]), ...);
}

// Adds p times values to 16 channels of heads h + T...; rows beyond the list are zero, an odd last row pairs with one.
template <class V, int... T>
void output_tile(std::integer_sequence<int, T...>, const float* p, const float* values, int stride, int rows,
                 float* acc, int d, std::int64_t channels) {
  const bool full = channels >= 16;
  typename V::F o[] = {full ? V::load(acc + static_cast<std::int64_t>(T) * d)
                            : V::load(acc + static_cast<std::int64_t>(T) * d, channels)...};
  for (int j = 0; j < rows; j += 2, values += 2 * stride) {
    auto even = V::load(values), odd = V::load(values + stride);
    ((o[T] = V::fma(V::set(p[T * kAttendBlock + j + 1]), odd, o[T])), ...);
    ((o[T] = V::fma(V::set(p[T * kAttendBlock + j]), even, o[T])), ...);
  }
  if (full)
    (V::store(acc + static_cast<std::int64_t>(T) * d, o[T]), ...);
  else
    (V::store(acc + static_cast<std::int64_t>(T) * d, o[T], channels), ...);
}

// Calls tile(integer_sequence of n heads, first head): runs of V::kHeadTile, then single heads.
template <class V, class Tile>
void for_head_tiles(int heads, Tile tile) {
  int h = 0;
  for (; h + V::kHeadTile <= heads; h += V::kHeadTile) tile(std::make_integer_sequence<int, V::kHeadTile>(), h);
  for (; h < heads; ++h) tile(std::make_integer_sequence<int, 1>(), h);
}

// Scores of one block into e and the new running maximum; p is left in s.scores, sum and acc are rescaled.
template <class V, bool kRoundP>
void attend_softmax(float* s, const bool* visible, float scale, int head_dim, float& max, float& sum, float* acc) {
  auto hidden = V::set(-__builtin_inff());
  typename V::F x[kAttendBlock / 16];
  auto top = hidden;
  for (int j = 0; j < kAttendBlock / 16; ++j) {
    std::int32_t mask[16];
    for (int i = 0; i < 16; ++i) mask[i] = visible[16 * j + i] ? 1 : 0;
    x[j] = V::select(V::equal(V::load(mask), V::iset(1)), V::mul(V::load(s + 16 * j), V::set(scale)), hidden);
    top = V::max(x[j], top);
  }
  float m = V::max_of(top);
  if (m > max) {
    float c = exp1<V>(max - m);
    sum *= c;
    generic::scale<V>(c, acc, head_dim, acc);
    max = m;
  }
  auto total = V::zero();
  for (int j = 0; j < kAttendBlock / 16; ++j) {
    auto e = exp<V>(V::sub(x[j], V::set(max)));
    total = V::add(total, e);
    V::store(s + 16 * j, kRoundP ? V::floats(round_bf16<V>(e)) : e);
  }
  sum += V::sum(total);
}

template <class V, bool kPacked>
void attend(const AttendArgs& a) {
  const int d = a.shape.head_dim, wide = (d + 15) / 16 * 16;
  AttendScratch t;
  t.keys = reinterpret_cast<float*>(a.scratch);
  t.values = t.keys + wide * kAttendBlock;
  t.q = t.values + wide * kAttendBlock;
  t.scores = t.q + a.heads * wide;

  for (int h = 0; h < a.heads; ++h) {
    for (int i = 0; i < d; i += 16) {
      auto q = V::load(a.q + static_cast<std::int64_t>(h) * d + i, d - i);
      V::store(t.q + h * wide + i, kPacked ? V::floats(round_bf16<V>(q)) : q);
    }
    a.max[h] = -__builtin_inff();
    a.sum[h] = 0;
  }
  __builtin_memset(a.acc, 0, sizeof(float) * static_cast<std::size_t>(a.heads) * static_cast<std::size_t>(d));

  for (std::int64_t begin = 0; begin < a.row_count; begin += kAttendBlock) {
    const int rows = static_cast<int>(a.row_count - begin < kAttendBlock ? a.row_count - begin : kAttendBlock);
    bool visible[kAttendBlock] = {}, any = false;
    for (int j = 0; j < kAttendBlock; ++j) {
      float* v = t.values + j * wide;
      const std::byte* row = j < rows ? a.rows[begin + j] : nullptr;
      if (row == nullptr) {
        __builtin_memset(v, 0, sizeof(float) * static_cast<std::size_t>(wide));
      } else {
        visible[j] = any = true;
        if (kPacked)
          decode_row<V>(a.shape, row, v);
        else
          __builtin_memcpy(v, row, sizeof(float) * static_cast<std::size_t>(d));
      }
      float* k = t.keys + j / 16 * (16 * d) + j % 16;
      for (int i = 0; i < d; ++i) k[16 * i] = v[i];
    }
    if (!any) continue;

    for (int g = 0; g < kAttendBlock / 16; ++g)
      for_head_tiles<V>(a.heads, [&](auto tile, int h) {
        score_tile<V>(tile, t.q + h * wide, wide, t.keys + g * 16 * d, d, t.scores + h * kAttendBlock + 16 * g);
      });
    for (int h = 0; h < a.heads; ++h)
      attend_softmax<V, kPacked>(t.scores + h * kAttendBlock, visible, a.scale, d, a.max[h], a.sum[h],
                                 a.acc + static_cast<std::int64_t>(h) * d);
    for (int i = 0; i < d; i += 16)
      for_head_tiles<V>(a.heads, [&](auto tile, int h) {
        output_tile<V>(tile, t.scores + h * kAttendBlock, t.values + i, wide, rows,
                       a.acc + static_cast<std::int64_t>(h) * d + i, d, d - i);
      });
  }
}

// out = sum_i w_i acc_i / (sum_i w_i sum_i + exp(sink - M)), w_i = exp(max_i - M), M the maximum of all max_i and the
// sink. All zero when neither a row nor the sink is finite.
template <class V>
void attend_merge(const float* max, const float* sum, const float* acc, int count, int heads, int head_dim,
                  const float* sinks, float* out) {
  for (int h = 0; h < heads; ++h) {
    float top = sinks[h];
    for (int i = 0; i < count; ++i) top = max[i * heads + h] > top ? max[i * heads + h] : top;
    float* o = out + static_cast<std::int64_t>(h) * head_dim;
    __builtin_memset(o, 0, sizeof(float) * static_cast<std::size_t>(head_dim));
    if (!(top > -__builtin_inff())) continue;
    float total = 0;
    for (int i = 0; i < count; ++i) {
      float w = exp1<V>(max[i * heads + h] - top);
      total = __builtin_fmaf(w, sum[i * heads + h], total);
      axpy<V>(w, acc + (static_cast<std::int64_t>(i) * heads + h) * head_dim, head_dim, o);
    }
    total += exp1<V>(sinks[h] - top);
    scale<V>(1.0f / total, o, head_dim, o);
  }
}

template <class V>
void fill_attention(KernelTable& t) {
  t.attend_scratch_bytes = attend_scratch_bytes<V>;
  t.attend_packed = attend<V, true>;
  t.attend_f32 = attend<V, false>;
  t.attend_merge = attend_merge<V>;
}

}  // namespace hadal::generic
