// What pages and state blocks depend on besides the tokens: they are never used with other weights, another arithmetic
// or another layout.
#pragma once

#include <cstdint>

#include "cache/page.h"
#include "model/model.h"

namespace hadal {

struct CacheIdentity {
  std::uint64_t weights = 0;   // ModelWeights::fingerprint
  std::uint64_t numerics = 0;  // numerics_hash
  std::uint64_t page_tokens = 0, page_bytes = 0, state_bytes = 0;
  std::uint64_t with_mtp = 0;  // 1: the MTP block's window is kept

  bool operator==(const CacheIdentity&) const = default;
  static CacheIdentity of(const Model& model, const CacheLayout& layout, bool with_mtp);
};

// XXH3-64 of the choices of arithmetic and the rotary frequency tables.
std::uint64_t numerics_hash(const Model& model);

}  // namespace hadal
