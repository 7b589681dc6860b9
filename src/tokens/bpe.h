// Byte-pair encoding of one piece in linear time.
//
// An encoding is the one that merging would give if and only if each pair of neighbouring tokens is: the pair, encoded
// alone, stays that pair. So encoding is a walk from the left that takes the longest token that fits behind the
// previous one, takes the next shorter if it does not fit, and steps back a token where nothing fits. A position from
// which the walk stepped back is never tried again, which bounds the work. Source: github/rust-gems,
// crates/bpe/README.md. The proof needs every token to encode to itself; build() checks that.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokens/byte_trie.h"
#include "tokens/vocabulary.h"

namespace hadal::tokens {

// (left, right) -> rank of the merge, if there is one. Most pairs have none, and a small bitmap that stays in the cache
// says so; the table behind it uses open addressing, with an entry packed into 64 bits.
class PairTable {
 public:
  explicit PairTable(const std::vector<Parents>& parents);

  // kNoRank if no merge joins them.
  Rank find(Rank left, Rank right) const {
    const std::uint64_t key = key_of(left, right);
    const std::uint64_t hash = hash_of(key);
    const std::uint64_t bit = hash >> filter_shift_;
    if ((filter_[bit / 64] >> (bit % 64) & 1) == 0) return kNoRank;
    for (std::size_t i = hash >> slot_shift_;; i = (i + 1) & mask_) {
      const std::uint64_t entry = slots_[i];
      if (entry >> kRankBits == key) return static_cast<Rank>(entry & kRankMask);
      if (entry == kFree) return kNoRank;
    }
  }

  std::size_t memory_bytes() const { return (slots_.size() + filter_.size()) * sizeof(std::uint64_t); }

 private:
  static constexpr int kRankBits = 21;  // 256 + kMaxIds ranks and a bit to spare
  static constexpr std::uint64_t kRankMask = (std::uint64_t{1} << kRankBits) - 1;
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};  // its key would need 22 bits

  static std::uint64_t key_of(Rank left, Rank right) { return std::uint64_t{left} << kRankBits | right; }
  // Fibonacci hashing, with the left half folded in once more: the top bits are mixed best.
  static std::uint64_t hash_of(std::uint64_t key) { return (key ^ key >> 13) * 0x9E3779B97F4A7C15U; }

  std::vector<std::uint64_t> slots_;
  std::vector<std::uint64_t> filter_;  // eight to sixteen bits per merge: nine of ten misses end here
  std::size_t mask_ = 0;
  int slot_shift_ = 0, filter_shift_ = 0;
};

class Bpe {
 public:
  // Room that one encode() after another reuses, and how much work was done; one per thread.
  struct Scratch {
    std::vector<Rank> path;           // tokens so far
    std::vector<std::uint64_t> dead;  // bit per position that the walk stepped back from
    std::uint64_t attempts = 0;       // candidate tokens looked at, over all calls
    std::uint64_t pair_lookups = 0;
  };

  static Result<Bpe> build(const Vocabulary& vocabulary, const std::string& where);

  // Appends the ids of `piece`, any bytes; pieces are what Splitter gives.
  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const;

  std::size_t memory_bytes() const;

 private:
  Bpe(const Vocabulary& vocabulary);

  // False if merging the bytes of left and right would not end in these two tokens. Only merges that come before
  // `limit` count.
  bool fits(Rank left, Rank right, Rank limit, std::uint64_t& pair_lookups) const;

  // What one step of the walk asks about a token, in a quarter of a cache line.
  struct Token {
    Parents parents;
    Rank shorter;               // the longest token that is a proper prefix; kNoRank for bytes
    std::uint32_t length : 11;  // bytes, at most kMaxTokenBytes
    std::uint32_t id : 21;      // below kMaxIds
  };
  static_assert(sizeof(Token) == 16 && kMaxTokenBytes < (1 << 11) && kMaxIds <= (1 << 21));

  TokenId id_of(Rank rank) const { return TokenId{static_cast<std::int32_t>(tokens_[rank].id)}; }

  ByteTrie trie_;  // bytes -> rank
  PairTable pairs_;
  std::vector<Token> tokens_;  // per rank
};

}  // namespace hadal::tokens
