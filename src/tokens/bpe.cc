#include "tokens/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tokens/byte_alphabet.h"

namespace hadal::tokens {
namespace {

// The first eight bytes as a number that sorts as they do.
std::uint64_t sort_key(std::string_view bytes) {
  std::uint64_t key = 0;
  std::memcpy(&key, bytes.data(), std::min<std::size_t>(bytes.size(), sizeof(key)));
  return std::endian::native == std::endian::little ? __builtin_bswap64(key) : key;
}

struct Sortable {
  std::uint64_t key;
  ByteTrie::Entry entry;
  bool operator<(const Sortable& other) const {
    return key != other.key ? key < other.key : entry.bytes < other.entry.bytes;
  }
};

bool is_set(const std::vector<std::uint64_t>& bits, std::size_t i) { return (bits[i / 64] >> (i % 64) & 1) != 0; }
void set(std::vector<std::uint64_t>& bits, std::size_t i) { bits[i / 64] |= std::uint64_t{1} << (i % 64); }

}  // namespace

PairTable::PairTable(const std::vector<Parents>& parents) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(parents.size() * 2, 64));
  slots_.assign(size, kFree);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
  for (Rank rank = kByteRanks; rank < parents.size(); ++rank) {
    const std::uint64_t key = key_of(parents[rank].left, parents[rank].right);
    std::size_t i = slot_of(key);
    while (slots_[i] != kFree) i = (i + 1) & mask_;
    slots_[i] = key << kRankBits | rank;
  }
}

Bpe::Bpe(const Vocabulary& vocabulary)
    : pairs_(vocabulary.parents()), parents_(vocabulary.parents()), id_of_rank_(vocabulary.id_of_rank()) {
  std::vector<Sortable> sorted;
  sorted.reserve(parents_.size());
  lengths_.reserve(parents_.size());
  for (Rank rank = 0; rank < parents_.size(); ++rank) {
    const std::string_view bytes = vocabulary.bytes_of(id_of_rank_[rank]);
    lengths_.push_back(static_cast<std::uint32_t>(bytes.size()));
    sorted.push_back({sort_key(bytes), {bytes, rank}});
  }
  std::sort(sorted.begin(), sorted.end());

  // In sorted order the prefixes of a token are the entries still open above it.
  shorter_.assign(parents_.size(), kNoRank);
  std::vector<ByteTrie::Entry> entries, open;
  entries.reserve(sorted.size());
  for (const Sortable& item : sorted) {
    entries.push_back(item.entry);
    while (!open.empty() && !item.entry.bytes.starts_with(open.back().bytes)) open.pop_back();
    if (!open.empty()) shorter_[item.entry.value] = open.back().value;
    open.push_back(item.entry);
  }
  trie_ = ByteTrie(entries);
}

Result<Bpe> Bpe::build(const Vocabulary& vocabulary, const std::string& where) {
  Bpe bpe(vocabulary);
  std::uint64_t lookups = 0;
  for (Rank rank = kByteRanks; rank < bpe.parents_.size(); ++rank) {
    // Its parents encode to themselves (checked before, lower ranks), so it does if nothing joins across their border
    // before the merge itself does.
    if (bpe.fits(bpe.parents_[rank].left, bpe.parents_[rank].right, rank, lookups)) continue;
    return fail(
        ErrorCode::kUnsupported,
        "{}: 'model.merges[{}]' makes '{}', but merges before it prevent that; hadal runs vocabularies where every "
        "token encodes to itself",
        where, rank - kByteRanks, printable_of_bytes(vocabulary.bytes_of(bpe.id_of_rank_[rank])));
  }
  return bpe;
}

// Looks at the border while the two tokens are taken apart, latest merge first: a merge across the border that would
// have come before that later merge would have been done instead. Of equal ranks the left one is done first.
bool Bpe::fits(Rank left, Rank right, Rank limit, std::uint64_t& pair_lookups) const {
  for (;;) {
    ++pair_lookups;
    if (pairs_.find(left, right) < limit) return false;
    if (left > right) {
      limit = left;
      left = parents_[left].right;
      if (left != limit) continue;
      limit = right + 1;  // a byte on the left: go on with the right
      right = parents_[right].left;
      if (right + 1 == limit) return true;
    } else {
      limit = right + 1;
      right = parents_[right].left;
      if (right + 1 != limit) continue;
      limit = left;
      left = parents_[left].right;
      if (left == limit) return true;
    }
  }
}

void Bpe::encode(std::string_view piece, Scratch& scratch) const {
  std::vector<Rank>& tokens = scratch.tokens;
  tokens.clear();
  std::size_t position = 0;
  ByteTrie::Match match = trie_.longest(piece);
  if (match.length == piece.size()) {
    ++scratch.attempts;
    if (match.length != 0) tokens.push_back(match.value);
    return;
  }

  scratch.dead.assign(piece.size() / 64 + 1, 0);
  Rank candidate = match.value;
  while (position < piece.size()) {
    ++scratch.attempts;
    const std::size_t end = position + lengths_[candidate];
    if (!is_set(scratch.dead, end) &&
        (tokens.empty() || fits(tokens.back(), candidate, kNoRank, scratch.pair_lookups))) {
      tokens.push_back(candidate);
      position = end;
      if (position < piece.size()) candidate = trie_.longest(piece.substr(position)).value;
    } else if (shorter_[candidate] != kNoRank) {
      candidate = shorter_[candidate];
    } else {
      // Dead. The first position cannot be: some encoding exists, and the walk reaches it before it runs out.
      set(scratch.dead, position);
      candidate = tokens.back();
      tokens.pop_back();
      position -= lengths_[candidate];
    }
  }
}

std::size_t Bpe::memory_bytes() const {
  return trie_.memory_bytes() +
         parents_.size() * (sizeof(Parents) + sizeof(std::uint32_t) + sizeof(Rank) + sizeof(TokenId)) +
         std::bit_ceil(parents_.size() * 2) * sizeof(std::uint64_t);
}

}  // namespace hadal::tokens
