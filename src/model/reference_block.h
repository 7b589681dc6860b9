// The mechanisms of one block, one function each, with the names of the paper and of the specification.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/ids.h"
#include "model/reference_math.h"
#include "model/reference_weights.h"

namespace hadal::reference {

// --- 3. Manifold-constrained hyper-connections. X is n streams of d channels, one after the other.

struct Mix {
  Vector A;  // [n] what each stream gives to the sub-block
  Vector C;  // [n] what each stream takes from its result
  Vector B;  // [n][n] source, target: how the streams mix; columns sum to 1
};
Mix hyper_connection(const Setting& setting, const HyperConnection& weights, const Vector& X);
Vector hc_pre(const Setting& setting, const Mix& mix, const Vector& X);                         // h [d]
Vector hc_post(const Setting& setting, const Mix& mix, const Vector& y, const Vector& X);       // X' [n*d]
Vector head_collapse(const Setting& setting, const HyperConnection& weights, const Vector& X);  // z [d]

// --- 5.1 Compression

// What one token brings to a compressor: its candidate c and its gate z, position bias added. [k*hd] each.
struct Member {
  Vector c, z;
};

struct CompressorState {
  std::vector<Member> open;      // tokens of the unfinished window
  std::vector<Member> previous;  // the window before it; overlapping compression only
  std::vector<Vector> entries;   // one per finished window, [hd] each
};

enum class EntryKind { kAttention, kIndexKey };  // decides how a finished entry is rounded

Member member(const Setting& setting, const Compressor& weights, std::int64_t ratio, const Vector& x, Position t);
void compress(const Setting& setting, const Compressor& weights, EntryKind kind, std::int64_t ratio, Member token,
              Position t, CompressorState& state);

// --- 4. Attention

struct LayerState {
  std::deque<Vector> window;      // kv of the last tokens, [D] each
  Position window_begin = 0;      // position of window.front()
  CompressorState entries, keys;  // compressed entries (CSA, HCA); index keys (CSA)
};

// Everything of a token that does not depend on other tokens.
struct Projections {
  Vector q;             // [H][D], rotated
  Vector kv;            // [D], rotated and rounded
  Member entry, key;    // for the compressors
  Vector index_q;       // [index_n_heads][index_head_dim], rotated, Hadamard, rounded
  Vector index_weight;  // [index_n_heads]
};
Projections project(const Setting& setting, const Attention& weights, std::int64_t ratio, const Vector& x, Position t);

// Adds the token to the window and to the compressors. Tokens come in order.
void remember(const Setting& setting, const Attention& weights, std::int64_t ratio, Projections& token, Position t,
              LayerState& state);

// The attention output y [d] of the token at t. Reads only what a query at t may see, so later tokens may be remembered
// already. `selected`, if given, receives the entries a CSA layer picked.
Vector attend(const Setting& setting, const Attention& weights, std::int64_t ratio, const Projections& token,
              Position t, const LayerState& state, std::vector<std::int64_t>* selected = nullptr);

// Drops window rows that no query at or after `next` can see.
void forget(const Setting& setting, Position next, LayerState& state);

// --- 5.2 Lightning indexer: the entries a query at t attends to, ascending
std::vector<std::int64_t> select_entries(const Setting& setting, const Projections& token, Position t,
                                         const LayerState& state);

// --- 6. Mixture of experts
Vector moe(const Setting& setting, const Moe& weights, const Vector& x, TokenId id);

}  // namespace hadal::reference
