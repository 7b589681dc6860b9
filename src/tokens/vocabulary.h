// Ids, their bytes and flags, and the merges as a forest of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "tokens/tokenizer_json.h"

namespace hadal::tokens {

// Rank orders what BPE may produce: 0..255 are the bytes, 256 + i is the product of merge i. A lower rank merges first.
// Ids are the model's numbers and may be laid out in any way.
using Rank = std::uint32_t;
inline constexpr Rank kNoRank = ~Rank{0};
inline constexpr Rank kByteRanks = 256;

struct Parents {
  Rank left, right;  // both smaller than the rank they make; a byte is its own left and right
};

class Vocabulary {
 public:
  // Checks the file against itself: every byte has an id; every merge makes one new token of the vocabulary out of
  // earlier ones; every token is a byte, a merge or added; added tokens have ids and contents of their own.
  static Result<Vocabulary> build(const TokenizerJson& json, const std::string& where);

  std::int32_t size() const { return static_cast<std::int32_t>(flags_.size()); }  // largest id + 1
  bool contains(TokenId id) const { return (flags(id) & kPresent) != 0; }
  bool is_added(TokenId id) const { return (flags(id) & kAdded) != 0; }
  bool is_special(TokenId id) const { return (flags(id) & kSpecial) != 0; }
  // The token's bytes: the content of an added token, raw bytes otherwise. Empty if there is no such token.
  std::string_view bytes_of(TokenId id) const;

  // Per rank; sizes are 256 + merges.
  const std::vector<Parents>& parents() const { return parents_; }
  const std::vector<TokenId>& id_of_rank() const { return id_of_rank_; }
  const std::vector<TokenId>& added() const { return added_; }  // in the file's order

 private:
  friend class VocabularyBuilder;
  enum Flags : std::uint8_t { kPresent = 1, kAdded = 2, kSpecial = 4 };
  struct Span {
    std::uint32_t offset = 0, length = 0;
  };

  // Ids come from models and callers: any value may be asked for.
  std::uint8_t flags(TokenId id) const {
    const auto index = static_cast<std::uint32_t>(id);  // negative ids become large
    return index < flags_.size() ? flags_[index] : std::uint8_t{0};
  }

  std::string arena_;                // bytes of all tokens
  std::vector<Span> spans_;          // per id, into arena_
  std::vector<std::uint8_t> flags_;  // per id
  std::vector<Parents> parents_;
  std::vector<TokenId> id_of_rank_;
  std::vector<TokenId> added_;
};

}  // namespace hadal::tokens
