#include "tokens/vocabulary.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "tokens/byte_alphabet.h"
#include "tokens/utf8.h"

namespace hadal::tokens {
namespace {

// Enough of a text from the file to find it there.
std::string_view brief(std::string_view text) { return shortened(text, 100); }

// Printable text -> entry of the vocabulary list. Open addressing, filled once; three look-ups per merge.
class Dictionary {
 public:
  explicit Dictionary(const std::vector<VocabularyEntry>& entries)
      : entries_(entries), slots_(std::bit_ceil(entries.size() * 2 + 1), 0) {}

  // False if the text is there already.
  bool insert(std::uint32_t entry) {
    std::uint32_t& slot = find_slot(entries_[entry].printable);
    if (slot != 0) return false;
    slot = entry + 1;
    return true;
  }

  const VocabularyEntry* find(std::string_view text) {
    const std::uint32_t slot = find_slot(text);
    return slot == 0 ? nullptr : &entries_[slot - 1];
  }

 private:
  std::uint32_t& find_slot(std::string_view text) {
    std::size_t i = XXH3_64bits(text.data(), text.size()) & (slots_.size() - 1);
    while (slots_[i] != 0 && entries_[slots_[i] - 1].printable != text) i = (i + 1) & (slots_.size() - 1);
    return slots_[i];
  }

  const std::vector<VocabularyEntry>& entries_;
  std::vector<std::uint32_t> slots_;  // entry index + 1; 0 is free
};

}  // namespace

class VocabularyBuilder {
 public:
  VocabularyBuilder(const TokenizerJson& json, const std::string& where)
      : json_(json), where_(where), dictionary_(json.vocabulary) {}

  Result<Vocabulary> build() {
    HADAL_CHECK_OK(place_added());
    HADAL_CHECK_OK(place_vocabulary());
    HADAL_CHECK_OK(rank_bytes());
    HADAL_CHECK_OK(rank_merges());
    HADAL_CHECK_OK(check_all_ranked());
    return std::move(out_);
  }

 private:
  template <class... Args>
  std::unexpected<Error> bad(fmt::format_string<Args...> text, Args&&... args) const {
    return fail(ErrorCode::kBadInput, "{}: {}; fetch the file again", where_,
                fmt::format(text, std::forward<Args>(args)...));
  }

  // Gives `id` its bytes; false if it has some already.
  bool place(std::int32_t id, std::string_view bytes, std::uint8_t flags) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= out_.flags_.size()) {
      out_.flags_.resize(index + 1, 0);
      out_.spans_.resize(index + 1);
    }
    if (out_.flags_[index] != 0) return false;
    out_.flags_[index] = flags;
    out_.spans_[index] = {static_cast<std::uint32_t>(out_.arena_.size()), static_cast<std::uint32_t>(bytes.size())};
    out_.arena_.append(bytes);
    return true;
  }

  Status place_added() {
    for (const AddedTokenEntry& token : json_.added) {
      const auto flags = static_cast<std::uint8_t>(Vocabulary::kPresent | Vocabulary::kAdded |
                                                   (token.special ? Vocabulary::kSpecial : 0));
      if (!place(token.id, token.content, flags)) return bad("two added tokens have id {}", token.id);
      out_.added_.push_back(TokenId{token.id});
    }
    std::vector<std::string_view> contents;
    for (const AddedTokenEntry& token : json_.added) contents.push_back(token.content);
    std::ranges::sort(contents);
    if (const auto twice = std::ranges::adjacent_find(contents); twice != contents.end()) {
      return bad("the added token '{}' is listed twice", *twice);
    }
    return {};
  }

  Status place_vocabulary() {
    std::string bytes;
    for (std::size_t i = 0; i < json_.vocabulary.size(); ++i) {
      const auto& [printable, id] = json_.vocabulary[i];
      if (!dictionary_.insert(static_cast<std::uint32_t>(i)))
        return bad("'model.vocab' lists '{}' twice", brief(printable));
      if (out_.is_added(TokenId{id})) {
        // The release lists its first three added tokens here as well.
        if (out_.bytes_of(TokenId{id}) == printable) continue;
        return bad("id {} is '{}' in 'model.vocab' and an added token with another content", id, brief(printable));
      }
      bytes.clear();
      if (!append_bytes_of_printable(printable, bytes) || bytes.empty()) {
        return bad("'model.vocab' has '{}', which is not written in the byte alphabet", brief(printable));
      }
      if (bytes.size() > kMaxTokenBytes)
        return bad("token {} has {} bytes, more than {}", id, bytes.size(), kMaxTokenBytes);
      if (!place(id, bytes, Vocabulary::kPresent)) return bad("'model.vocab' gives id {} twice", id);
    }
    rank_of_id_.assign(out_.flags_.size(), kNoRank);
    return {};
  }

  // The rank of a printable text, if it has one already.
  std::optional<Rank> rank_of(std::string_view printable) {
    const VocabularyEntry* entry = dictionary_.find(printable);
    if (entry == nullptr) return std::nullopt;
    const Rank rank = rank_of_id_[static_cast<std::size_t>(entry->id)];
    if (rank == kNoRank) return std::nullopt;
    return rank;
  }

  // The id of a token of the vocabulary that is not an added one.
  std::optional<std::int32_t> id_of(std::string_view printable) {
    const VocabularyEntry* entry = dictionary_.find(printable);
    if (entry == nullptr || out_.is_added(TokenId{entry->id})) return std::nullopt;
    return entry->id;
  }

  void rank(std::int32_t id, Parents parents) {
    rank_of_id_[static_cast<std::size_t>(id)] = static_cast<Rank>(out_.parents_.size());
    out_.parents_.push_back(parents);
    out_.id_of_rank_.push_back(TokenId{id});
  }

  Status rank_bytes() {
    for (Rank byte = 0; byte < kByteRanks; ++byte) {
      const char one = static_cast<char>(byte);
      const auto id = id_of(printable_of_bytes({&one, 1}));
      if (!id) return bad("'model.vocab' has no token for the byte {:#04x}", byte);
      rank(*id, {byte, byte});
    }
    return {};
  }

  Status rank_merges() {
    std::string product;
    for (std::size_t i = 0; i < json_.merges.size(); ++i) {
      const auto& [left, right] = json_.merges[i];
      const auto left_rank = rank_of(left);
      const auto right_rank = rank_of(right);
      if (!left_rank || !right_rank) {
        return bad("'model.merges[{}]' joins '{}' and '{}', of which one is not made by an earlier merge", i,
                   brief(left), brief(right));
      }
      product.assign(left).append(right);
      const auto id = id_of(product);
      if (!id) return bad("'model.merges[{}]' makes '{}', which 'model.vocab' lacks", i, brief(product));
      if (rank_of_id_[static_cast<std::size_t>(*id)] != kNoRank) {
        return fail(
            ErrorCode::kUnsupported,
            "{}: 'model.merges[{}]' makes '{}' a second time; hadal runs vocabularies where every token has one merge",
            where_, i, product);
      }
      rank(*id, {*left_rank, *right_rank});
    }
    return {};
  }

  Status check_all_ranked() {
    for (std::size_t id = 0; id < out_.flags_.size(); ++id) {
      if (out_.flags_[id] == Vocabulary::kPresent && rank_of_id_[id] == kNoRank) {
        return bad("token {} is neither a byte nor an added token, and no merge makes it", id);
      }
    }
    return {};
  }

  const TokenizerJson& json_;
  const std::string& where_;
  Dictionary dictionary_;
  Vocabulary out_;
  std::vector<Rank> rank_of_id_;
};

Result<Vocabulary> Vocabulary::build(const TokenizerJson& json, const std::string& where) {
  return VocabularyBuilder(json, where).build();
}

std::string_view Vocabulary::bytes_of(TokenId id) const {
  if (!contains(id)) return {};
  const Span span = spans_[static_cast<std::size_t>(to_int(id))];
  return std::string_view(arena_).substr(span.offset, span.length);
}

}  // namespace hadal::tokens
