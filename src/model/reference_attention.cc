// Attention, compression and the indexer of the definition (spec 4 and 5).
#include <algorithm>
#include <cmath>

#include "model/reference_block.h"
#include "numbers/block_quant.h"

namespace hadal::reference {
namespace {

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

// Part `i` of a vector of parts of `size`.
std::span<double> part(Vector& v, std::int64_t i, std::int64_t size) {
  return std::span(v).subspan(index(i * size), index(size));
}
std::span<const double> part(const Vector& v, std::int64_t i, std::int64_t size) {
  return std::span(v).subspan(index(i * size), index(size));
}

// The FP8 round trip of an attention entry: all channels but the rotary ones, blocks of 64 (spec 7.3).
void round_entry(const Setting& setting, std::span<double> entry) {
  if (!setting.round_cache) return;
  round_blocks_fp8(entry.first(entry.size() - index(setting.config.qk_rope_head_dim)), 64);
}

// Hadamard, then the FP4 round trip, blocks of 32 over all channels. The rotation spreads outliers before the rounding.
void round_index(const Setting& setting, std::span<double> key) {
  hadamard(key);
  if (setting.round_cache) round_blocks_fp4(key, 32);
}

const std::vector<float>& frequencies_of(const Setting& setting, std::int64_t ratio) {
  return ratio == 0 ? setting.plain_frequencies : setting.compressed_frequencies;
}

}  // namespace

// 5.1: c_j = wkv x_j, z_j = wgate x_j + ape[j mod ratio]
Member member(const Setting&, const Compressor& weights, std::int64_t ratio, const Vector& x, Position t) {
  Member token{multiply(weights.wkv, x), multiply(weights.wgate, x)};
  auto bias = part(weights.ape, t % ratio, weights.wgate.rows);
  for (std::size_t i = 0; i < token.z.size(); ++i) token.z[i] += bias[i];
  return token;
}

// 5.1: the token joins the open window; the last one of a window turns it into an entry.
void compress(const Setting& setting, const Compressor& weights, EntryKind kind, std::int64_t ratio, Member token,
              Position t, CompressorState& state) {
  state.open.push_back(std::move(token));
  if ((t + 1) % ratio != 0) return;

  // Overlapping compression (ratio 4): a token's first half goes to the next window's entry, its second half to its
  // own.
  const bool overlapping = ratio == 4;
  const std::size_t hd = weights.norm.size();
  struct Source {
    const double* c;
    const double* z;
  };
  std::vector<Source> members;
  for (const Member& m : state.previous) members.push_back({m.c.data(), m.z.data()});
  const std::size_t own = overlapping ? hd : 0;
  for (const Member& m : state.open) members.push_back({m.c.data() + own, m.z.data() + own});

  Vector entry(hd);
  for (std::size_t channel = 0; channel < hd; ++channel) {  // a softmax of its own for every channel
    double most = members.front().z[channel];
    for (const Source& m : members) most = std::max(most, m.z[channel]);
    double sum = 0, weighted = 0;
    for (const Source& m : members) {
      const double e = std::exp(m.z[channel] - most);
      sum += e;
      weighted += e * m.c[channel];
    }
    entry[channel] = weighted / sum;
  }

  rms_norm(setting, entry, weights.norm);
  rotate(entry, t + 1 - ratio, setting.compressed_frequencies);  // at the first token of the window
  if (kind == EntryKind::kAttention)
    round_entry(setting, entry);
  else
    round_index(setting, entry);
  state.entries.push_back(std::move(entry));

  if (overlapping) state.previous = std::move(state.open);
  state.open.clear();
}

// 4.1, and the query side of 5.2
Projections project(const Setting& setting, const Attention& weights, std::int64_t ratio, const Vector& x, Position t) {
  const ModelConfig& c = setting.config;
  const std::vector<float>& frequencies = frequencies_of(setting, ratio);
  Projections out;

  Vector qr = linear(setting, weights.wq_a, x);
  rms_norm(setting, qr, weights.q_norm);
  out.q = linear(setting, weights.wq_b, qr);
  for (std::int64_t h = 0; h < c.num_attention_heads; ++h) {
    auto q = part(out.q, h, c.head_dim);
    rms_norm(setting, q);  // per head, no weight
    rotate(q, t, frequencies);
  }

  out.kv = linear(setting, weights.wkv, x);  // one head, key and value at once
  rms_norm(setting, out.kv, weights.kv_norm);
  rotate(out.kv, t, frequencies);
  round_entry(setting, out.kv);

  if (ratio != 0) out.entry = member(setting, weights.compressor, ratio, x, t);
  if (ratio == 4) {
    out.key = member(setting, weights.indexer.compressor, ratio, x, t);
    out.index_q = linear(setting, weights.indexer.wq_b, qr);
    for (std::int64_t h = 0; h < c.index_n_heads; ++h) {
      auto q = part(out.index_q, h, c.index_head_dim);  // no norm
      rotate(q, t, frequencies);
      round_index(setting, q);
    }
    out.index_weight = multiply(weights.indexer.weights_proj, x);
    for (double& w : out.index_weight)
      w *= 1 / std::sqrt(static_cast<double>(c.index_head_dim)) / std::sqrt(static_cast<double>(c.index_n_heads));
  }
  return out;
}

void remember(const Setting& setting, const Attention& weights, std::int64_t ratio, Projections& token, Position t,
              LayerState& state) {
  state.window.push_back(std::move(token.kv));
  if (ratio != 0)
    compress(setting, weights.compressor, EntryKind::kAttention, ratio, std::move(token.entry), t, state.entries);
  if (ratio == 4)
    compress(setting, weights.indexer.compressor, EntryKind::kIndexKey, ratio, std::move(token.key), t, state.keys);
}

// 5.2: I[t][i] = sum_h w_h max(0, qi_h . key_i); the index_topk largest of i < floor((t+1)/4)
std::vector<std::int64_t> select_entries(const Setting& setting, const Projections& token, Position t,
                                         const LayerState& state) {
  const ModelConfig& c = setting.config;
  Vector I(index((t + 1) / 4));
  for (std::size_t i = 0; i < I.size(); ++i) {
    for (std::int64_t h = 0; h < c.index_n_heads; ++h)
      I[i] += token.index_weight[index(h)] *
              std::max(0.0, dot(part(token.index_q, h, c.index_head_dim), state.keys.entries[i]));
  }
  return largest(I, c.index_topk);
}

// 4.3 to 4.5
Vector attend(const Setting& setting, const Attention& weights, std::int64_t ratio, const Projections& token,
              Position t, const LayerState& state, std::vector<std::int64_t>* selected) {
  const ModelConfig& c = setting.config;
  const std::int64_t D = c.head_dim, G = c.o_groups;

  std::vector<const Vector*> seen;  // the entries e of this query
  for (Position p = std::max<Position>(0, t - c.sliding_window + 1); p <= t; ++p)
    seen.push_back(&state.window[index(p - state.window_begin)]);
  if (ratio == 4) {
    std::vector<std::int64_t> picked = select_entries(setting, token, t, state);
    for (std::int64_t i : picked) seen.push_back(&state.entries.entries[index(i)]);
    if (selected) *selected = std::move(picked);
  } else if (ratio != 0) {
    for (std::int64_t i = 0; i < (t + 1) / ratio; ++i) seen.push_back(&state.entries.entries[index(i)]);
  }

  Vector o(token.q.size());
  for (std::int64_t h = 0; h < c.num_attention_heads; ++h) {
    auto q = part(token.q, h, D);
    auto out = part(o, h, D);
    const double sink = weights.attn_sink[index(h)];
    Vector s(seen.size());
    double most = sink;
    for (std::size_t e = 0; e < seen.size(); ++e) {
      s[e] = dot(q, *seen[e]) / std::sqrt(static_cast<double>(D));
      most = std::max(most, s[e]);
    }
    double denominator = std::exp(sink - most);  // the sink takes probability and gives no value
    for (double& v : s) denominator += v = std::exp(v - most);
    for (std::size_t e = 0; e < seen.size(); ++e) {
      const double p = s[e] / denominator;
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += p * (*seen[e])[i];
    }
    rotate(out, t, frequencies_of(setting, ratio), Turn::kBack);
  }

  Vector u;  // concat(u_0 .. u_{G-1}), [G*R]
  for (std::int64_t g = 0; g < G; ++g) {
    Vector u_g = multiply(weights.wo_a[index(g)], part(o, g, c.num_attention_heads / G * D));  // input never rounded
    u.insert(u.end(), u_g.begin(), u_g.end());
  }
  return linear(setting, weights.wo_b, u);
}

void forget(const Setting& setting, Position next, LayerState& state) {
  while (!state.window.empty() && state.window_begin < next - setting.config.sliding_window + 1) {
    state.window.pop_front();
    ++state.window_begin;
  }
}

}  // namespace hadal::reference
