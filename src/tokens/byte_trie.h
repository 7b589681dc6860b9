// Longest-match look-up of byte strings: a double-array trie, one load per byte.
//
// A node's child for byte b sits in slot base ^ b. A slot is 64 bits: base, the byte it is reached by, and the value of
// the string that ends there. No two nodes share a base, so the byte alone proves that a slot is the child looked for.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hadal::tokens {

class ByteTrie {
 public:
  struct Entry {
    std::string_view bytes;  // not empty; distinct
    std::uint32_t value;     // below kMaxValue
  };
  static constexpr std::uint32_t kMaxValue = (1U << 24) - 1;  // itself means "no string ends here"

  struct Match {
    std::uint32_t value;
    std::uint32_t length;  // bytes; 0: no entry is a prefix of the text
  };

  ByteTrie() = default;
  // `entries` is sorted by bytes. Total bytes of all entries: below 2^28, which keeps slot numbers in 31 bits.
  explicit ByteTrie(std::span<const Entry> entries);

  // The longest entry that `text` begins with. Reads at most one byte more than the longest entry has.
  Match longest(std::string_view text) const {
    Match best{0, 0};
    if (slots_.empty()) return best;
    std::uint64_t base = root_;
    for (std::uint32_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const std::uint64_t slot = slots_[base ^ byte];
      if ((slot & kTagMask) != (kUsed | byte)) break;
      const auto value = static_cast<std::uint32_t>(slot >> kValueShift) & kMaxValue;
      if (value != kMaxValue) best = {value, i + 1};
      base = slot >> kBaseShift;
    }
    return best;
  }

  std::size_t memory_bytes() const { return slots_.size() * sizeof(slots_[0]); }

 private:
  friend class ByteTrieBuilder;
  // bits 0-7 byte, 8 used, 9-32 value, 33-63 base
  static constexpr std::uint64_t kUsed = 0x100;
  static constexpr std::uint64_t kTagMask = 0x1FF;
  static constexpr int kValueShift = 9;
  static constexpr int kBaseShift = 33;

  std::vector<std::uint64_t> slots_;  // a multiple of 256; the first 256 stay empty: base 0 means "no children"
  std::uint64_t root_ = 0;
};

}  // namespace hadal::tokens
