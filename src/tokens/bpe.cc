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
  slot_shift_ = 64 - std::countr_zero(size);
  filter_.assign(size * 4 / 64, 0);
  filter_shift_ = slot_shift_ - 2;
  for (Rank rank = kByteRanks; rank < parents.size(); ++rank) {
    const std::uint64_t key = key_of(parents[rank].left, parents[rank].right);
    const std::uint64_t hash = hash_of(key);
    set(filter_, hash >> filter_shift_);
    std::size_t i = hash >> slot_shift_;
    while (slots_[i] != kFree) i = (i + 1) & mask_;
    slots_[i] = key << kRankBits | rank;
  }
}

Bpe::Bpe(const Vocabulary& vocabulary) : pairs_(vocabulary.parents()) {
  const std::size_t count = vocabulary.parents().size();
  std::vector<Sortable> sorted;
  sorted.reserve(count);
  tokens_.reserve(count);
  for (Rank rank = 0; rank < count; ++rank) {
    const TokenId id = vocabulary.id_of_rank()[rank];
    const std::string_view bytes = vocabulary.bytes_of(id);
    tokens_.push_back({vocabulary.parents()[rank], kNoRank, static_cast<std::uint32_t>(bytes.size()),
                       static_cast<std::uint32_t>(to_int(id))});
    sorted.push_back({sort_key(bytes), {bytes, rank}});
  }
  std::sort(sorted.begin(), sorted.end());

  // In sorted order the prefixes of a token are the entries still open above it.
  std::vector<ByteTrie::Entry> entries, open;
  entries.reserve(sorted.size());
  for (const Sortable& item : sorted) {
    entries.push_back(item.entry);
    while (!open.empty() && !item.entry.bytes.starts_with(open.back().bytes)) open.pop_back();
    if (!open.empty()) tokens_[item.entry.value].shorter = open.back().value;
    open.push_back(item.entry);
  }
  trie_ = ByteTrie(entries);
}

Result<Bpe> Bpe::build(const Vocabulary& vocabulary, const std::string& where) {
  Bpe bpe(vocabulary);
  std::uint64_t lookups = 0;
  for (Rank rank = kByteRanks; rank < bpe.tokens_.size(); ++rank) {
    // Its parents encode to themselves (checked before, lower ranks), so it does if nothing joins across their border
    // before the merge itself does.
    const auto [left, right] = bpe.tokens_[rank].parents;
    if (bpe.fits(left, right, rank, lookups)) continue;
    return fail(
        ErrorCode::kUnsupported,
        "{}: 'model.merges[{}]' makes '{}', but merges before it prevent that; hadal runs vocabularies where every "
        "token encodes to itself",
        where, rank - kByteRanks, printable_of_bytes(vocabulary.bytes_of(bpe.id_of(rank))));
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
      left = tokens_[left].parents.right;
      if (left != limit) continue;
      limit = right + 1;  // a byte on the left: go on with the right
      right = tokens_[right].parents.left;
      if (right + 1 == limit) return true;
    } else {
      limit = right + 1;
      right = tokens_[right].parents.left;
      if (right + 1 != limit) continue;
      limit = left;
      left = tokens_[left].parents.right;
      if (left == limit) return true;
    }
  }
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const {
  ByteTrie::Match match = trie_.longest(piece);
  if (match.length == piece.size()) {
    ++scratch.attempts;
    if (match.length != 0) out.push_back(id_of(match.value));
    return;
  }

  std::vector<Rank>& path = scratch.path;
  path.clear();
  scratch.dead.assign(piece.size() / 64 + 1, 0);
  std::size_t position = 0;
  Rank candidate = match.value;
  while (position < piece.size()) {
    ++scratch.attempts;
    const std::size_t end = position + tokens_[candidate].length;
    if (!is_set(scratch.dead, end) && (path.empty() || fits(path.back(), candidate, kNoRank, scratch.pair_lookups))) {
      path.push_back(candidate);
      position = end;
      if (position < piece.size()) candidate = trie_.longest(piece.substr(position)).value;
    } else if (tokens_[candidate].shorter != kNoRank) {
      candidate = tokens_[candidate].shorter;
    } else {
      // Dead. The first position cannot be: some encoding exists, and the walk reaches it before it runs out.
      set(scratch.dead, position);
      candidate = path.back();
      path.pop_back();
      position -= tokens_[candidate].length;
    }
  }
  for (Rank rank : path) out.push_back(id_of(rank));
}

std::size_t Bpe::memory_bytes() const {
  return trie_.memory_bytes() + pairs_.memory_bytes() + tokens_.size() * sizeof(Token);
}

}  // namespace hadal::tokens
