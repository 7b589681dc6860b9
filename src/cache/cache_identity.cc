#include "cache/cache_identity.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstddef>
#include <vector>

namespace hadal {

std::uint64_t numerics_hash(const Model& model) {
  std::vector<std::byte> bytes;
  auto add = [&](const void* p, std::size_t n) {
    auto* b = static_cast<const std::byte*>(p);
    bytes.insert(bytes.end(), b, b + n);
  };
  const Numerics& n = model.numerics();
  const std::uint8_t flags[3] = {n.fast, n.round_cache, n.round_inputs};
  add(flags, sizeof flags);
  for (const auto* t : {&model.tables().plain, &model.tables().compressed}) add(t->data(), t->size() * sizeof(float));
  return XXH3_64bits(bytes.data(), bytes.size());
}

CacheIdentity CacheIdentity::of(const Model& model, const CacheLayout& layout, bool with_mtp) {
  return {model.weights().fingerprint,
          numerics_hash(model),
          static_cast<std::uint64_t>(layout.page_tokens),
          static_cast<std::uint64_t>(layout.page_bytes),
          static_cast<std::uint64_t>(layout.state_bytes),
          with_mtp ? 1u : 0u};
}

}  // namespace hadal
