#include "tokens/char_class.h"

#include <memory>

namespace hadal::tokens {

CharClasses::CharClasses() {
  for (const UnicodeRange& range : unicode_ranges()) {
    for (char32_t c = range.first; c <= range.last; ++c) bits_[c] = range.bits;
  }
  bits_['\r'] |= kNewline;
  bits_['\n'] |= kNewline;
  constexpr char32_t kCjkRanges[][2] = {{0x4E00, 0x9FA5}, {0x3040, 0x309F}, {0x30A0, 0x30FF}};
  for (const auto& range : kCjkRanges) {
    for (char32_t c = range[0]; c <= range[1]; ++c) bits_[c] |= kCjk;
  }
}

const CharClasses& CharClasses::instance() {
  static const std::unique_ptr<const CharClasses> classes(new CharClasses);  // too large for a stack frame
  return *classes;
}

}  // namespace hadal::tokens
