#include "tokens/byte_trie.h"

#include <algorithm>
#include <array>
#include <bit>

namespace hadal::tokens {
namespace {

using Set256 = std::array<std::uint64_t, 4>;

bool contains(const Set256& set, std::uint32_t i) { return (set[i / 64] >> (i % 64) & 1) != 0; }
void insert(Set256& set, std::uint32_t i) { set[i / 64] |= std::uint64_t{1} << (i % 64); }

}  // namespace

// Places nodes depth first, so that the strings below a node lie near each other.
class ByteTrieBuilder {
 public:
  ByteTrieBuilder(std::span<const ByteTrie::Entry> entries, ByteTrie& trie) : entries_(entries), trie_(trie) {}

  void build() {
    add_block();
    open_.clear();  // block 0 stays empty: it is where leaves point
    struct Node {
      std::size_t first, last;  // the entries below it
      std::size_t depth;
      std::uint32_t slot;  // 0: the root
    };
    std::vector<Node> stack{{0, entries_.size(), 0, 0}};
    std::vector<unsigned char> labels;
    std::vector<std::size_t> starts;
    while (!stack.empty()) {
      const Node node = stack.back();
      stack.pop_back();
      labels.clear();
      starts.clear();
      for (std::size_t i = node.first; i < node.last; ++i) {
        if (entries_[i].bytes.size() == node.depth) continue;  // the node's own string, always the first
        const auto byte = static_cast<unsigned char>(entries_[i].bytes[node.depth]);
        if (!labels.empty() && labels.back() == byte) continue;
        labels.push_back(byte);
        starts.push_back(i);
      }
      if (labels.empty()) continue;
      const std::uint32_t base = place(labels);
      if (node.slot == 0) {
        trie_.root_ = base;
      } else {
        trie_.slots_[node.slot] |= std::uint64_t{base} << ByteTrie::kBaseShift;
      }
      starts.push_back(node.last);
      for (std::size_t c = labels.size(); c-- > 0;) {
        const ByteTrie::Entry& first = entries_[starts[c]];
        const std::uint32_t value = first.bytes.size() == node.depth + 1 ? first.value : ByteTrie::kMaxValue;
        const std::uint32_t slot = base ^ labels[c];
        trie_.slots_[slot] = std::uint64_t{value} << ByteTrie::kValueShift | ByteTrie::kUsed | labels[c];
        stack.push_back({starts[c], starts[c + 1], node.depth + 1, slot});
      }
    }
  }

 private:
  struct Block {
    Set256 slots{}, bases{};  // taken
    int misses = 0;
  };
  // A block that refuses this often is nearly full of what we look for; keeping few open bounds the search.
  static constexpr int kMaxMisses = 64;
  static constexpr std::size_t kMaxOpen = 16;

  void add_block() {
    open_.push_back(static_cast<std::uint32_t>(blocks_.size()));
    blocks_.emplace_back();
    trie_.slots_.resize(blocks_.size() * 256, 0);
    if (open_.size() > kMaxOpen) open_.erase(open_.begin());
  }

  // Finds a base under which all labels are free, and takes it and the slots.
  std::uint32_t place(std::span<const unsigned char> labels) {
    for (std::size_t i = 0; i < open_.size(); ++i) {
      if (const auto base = place_in(open_[i], labels); base != 0) return base;
      if (++blocks_[open_[i]].misses > kMaxMisses) open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(i--));
    }
    add_block();
    return place_in(open_.back(), labels);
  }

  std::uint32_t place_in(std::uint32_t number, std::span<const unsigned char> labels) {
    Block& block = blocks_[number];
    for (std::size_t word = 0; word < 4; ++word) {
      for (std::uint64_t free = ~block.slots[word]; free != 0; free &= free - 1) {
        const auto slot = static_cast<std::uint32_t>(word * 64) + static_cast<std::uint32_t>(std::countr_zero(free));
        const std::uint32_t base = slot ^ labels[0];
        if (contains(block.bases, base)) continue;
        const bool fits = std::ranges::none_of(labels, [&](auto label) { return contains(block.slots, base ^ label); });
        if (!fits) continue;
        insert(block.bases, base);
        for (auto label : labels) insert(block.slots, base ^ label);
        return number * 256 + base;
      }
    }
    return 0;
  }

  std::span<const ByteTrie::Entry> entries_;
  ByteTrie& trie_;
  std::vector<Block> blocks_;
  std::vector<std::uint32_t> open_;
};

ByteTrie::ByteTrie(std::span<const Entry> entries) { ByteTrieBuilder(entries, *this).build(); }

}  // namespace hadal::tokens
