// Finds added tokens in text: leftmost, then longest.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "tokens/byte_trie.h"
#include "tokens/vocabulary.h"

namespace hadal::tokens {

class AddedTokens {
 public:
  explicit AddedTokens(const Vocabulary& vocabulary);

  struct Match {
    std::size_t position, length;  // bytes
    TokenId id;
  };

  // The first match at or after `from`.
  std::optional<Match> find(std::string_view text, std::size_t from) const;

  // The token whose whole content this is.
  std::optional<TokenId> exact(std::string_view content) const;

 private:
  ByteTrie trie_;                   // content -> id
  std::array<bool, 256> starts_{};  // by byte: some content begins with it
};

}  // namespace hadal::tokens
