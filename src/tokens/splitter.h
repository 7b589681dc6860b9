// Cuts text into the pieces that BPE works on: the three regular expressions of tokenizer.json, by hand.
//
// The patterns run one after the other, each over the pieces the previous one left:
//   1. \p{N}{1,3}
//   2. [<CJK ideographs, Hiragana, Katakana>]+
//   3. first of: ASCII punctuation and ASCII letters | [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+ | ?[\p{P}\p{S}]+[\r\n]*
//      | \s*[\r\n]+ | \s+(?!\S) | \s+
// What no pattern matches is a piece too, as long as it lasts. One scan does all three: the pieces of passes 1 and 2
// are regions that pass 3 cannot look beyond, so a number, or a change between CJK and the rest, counts as the end of
// text.
#pragma once

#include <string_view>

#include "tokens/char_class.h"

namespace hadal::tokens {

class Splitter {
 public:
  // `text` may be any bytes and must outlive the splitter.
  explicit Splitter(std::string_view text);

  // The next piece, a view into the text; empty when the text is used up. Pieces are never empty and cover the text.
  std::string_view next();

 private:
  using Char = CharClasses::Char;

  // True if the character at p exists, lies in the region, and has one of the bits.
  bool has(const char* p, std::uint8_t region, std::uint8_t bits, Char* c) const;
  const char* skip(const char* p, std::uint8_t region, std::uint8_t bits) const;
  const char* skip_word(const char* p, std::uint8_t region) const;
  const char* end_of_number(const char* p) const;
  const char* end_of_punctuation(const char* p, std::uint8_t region) const;
  const char* end_of_space(const char* p, std::uint8_t region) const;
  const char* end_of_unmatched(const char* p, std::uint8_t region) const;
  const char* end_of_piece() const;

  const CharClasses& classes_;
  const char* position_;
  const char* end_;
};

}  // namespace hadal::tokens
