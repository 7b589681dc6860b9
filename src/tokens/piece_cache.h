// Remembers the ids of short pieces: most of any text is words seen a moment ago.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace hadal::tokens {

// Two-way set-associative, least recently used goes. 8192 sets of one cache line: 512 KiB, half a level-2 cache.
class PieceCache {
 public:
  static constexpr std::size_t kMaxPieceBytes = 15;
  static constexpr std::size_t kMaxIds = 3;  // 99 % of natural pieces that short

  struct Key {
    std::uint64_t low, high;  // the piece's bytes, zeros, and the length in the last byte, so no two pieces are alike
    bool operator==(const Key&) const = default;
  };

  // 1 <= piece.size() <= kMaxPieceBytes. `readable` bytes may be read from piece.data().
  static Key key_of(std::string_view piece, std::size_t readable) {
    std::array<std::uint64_t, 2> words{};
    if (readable >= sizeof(words)) {
      // A fixed-size copy and a mask are much cheaper than a copy of varying size.
      std::memcpy(words.data(), piece.data(), sizeof(words));
      const std::size_t bits = piece.size() * 8;
      words[0] &= bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
      words[1] &= bits <= 64 ? 0 : (std::uint64_t{1} << (bits - 64)) - 1;
    } else {
      std::memcpy(words.data(), piece.data(), piece.size());
    }
    return {words[0], words[1] | std::uint64_t{piece.size()} << 56};
  }

  // Asks the memory for the key's place, to be read a little later.
  void prefetch(const Key& key) const { __builtin_prefetch(&sets_[index_of(key)]); }

  // The ids, or an empty span. Valid until the next insert.
  std::span<const TokenId> find(const Key& key) {
    auto& set = sets_[index_of(key)].ways;
    if (!(set[0].key == key)) {
      if (!(set[1].key == key)) return {};
      std::swap(set[0], set[1]);
    }
    return {set[0].ids.data(), set[0].count};
  }

  // 1 <= ids.size() <= kMaxIds.
  void insert(const Key& key, std::span<const TokenId> ids) {
    auto& set = sets_[index_of(key)].ways;
    set[1] = set[0];
    set[0].key = key;
    set[0].count = static_cast<std::uint32_t>(ids.size());
    std::ranges::copy(ids, set[0].ids.begin());
  }

  void clear() { sets_.assign(kSets, Set{}); }

 private:
  struct Entry {
    Key key{0, 0};  // length 0: free
    std::uint32_t count = 0;
    std::array<TokenId, kMaxIds> ids{};
  };
  struct alignas(64) Set {
    std::array<Entry, 2> ways;  // most recently used first
  };
  static_assert(sizeof(Set) == 64, "a set is one cache line");
  static constexpr int kSetBits = 13;
  static constexpr std::size_t kSets = std::size_t{1} << kSetBits;

  static std::size_t index_of(const Key& key) {
    // Odd constants of the golden ratio and of XXH64; the top bits of the product are mixed best.
    const std::uint64_t mixed = key.low * 0x9E3779B97F4A7C15U ^ (key.high + (key.high >> 29)) * 0xC2B2AE3D27D4EB4FU;
    return static_cast<std::size_t>((mixed ^ mixed >> 32) * 0x9E3779B97F4A7C15U >> (64 - kSetBits));
  }

  std::vector<Set> sets_ = std::vector<Set>(kSets);
};

}  // namespace hadal::tokens
