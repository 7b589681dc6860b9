#include "tokens/added_tokens.h"

#include <algorithm>

namespace hadal::tokens {

AddedTokens::AddedTokens(const Vocabulary& vocabulary) {
  std::vector<ByteTrie::Entry> entries;
  for (TokenId id : vocabulary.added()) {
    entries.push_back({vocabulary.bytes_of(id), static_cast<std::uint32_t>(to_int(id))});
    starts_[static_cast<unsigned char>(entries.back().bytes[0])] = true;
  }
  std::ranges::sort(entries, {}, &ByteTrie::Entry::bytes);
  trie_ = ByteTrie(entries);
}

std::optional<AddedTokens::Match> AddedTokens::find(std::string_view text, std::size_t from) const {
  for (std::size_t i = from; i < text.size(); ++i) {
    if (!starts_[static_cast<unsigned char>(text[i])]) continue;
    const ByteTrie::Match match = trie_.longest(text.substr(i));
    if (match.length != 0) return Match{i, match.length, TokenId{static_cast<std::int32_t>(match.value)}};
  }
  return std::nullopt;
}

std::optional<TokenId> AddedTokens::exact(std::string_view content) const {
  const ByteTrie::Match match = trie_.longest(content);
  if (match.length == 0 || match.length != content.size()) return std::nullopt;
  return TokenId{static_cast<std::int32_t>(match.value)};
}

}  // namespace hadal::tokens
