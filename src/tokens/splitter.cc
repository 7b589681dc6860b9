#include "tokens/splitter.h"

#include <bit>
#include <cstdint>
#include <cstring>

static_assert(std::endian::native == std::endian::little, "the first byte of a word is its lowest");

namespace hadal::tokens {
namespace {

constexpr std::uint8_t kWord = kLetter | kMark;

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }
bool is_ascii_letter(char c) { return static_cast<unsigned char>((c | 0x20) - 'a') < 26; }

// The end of a run of ASCII letters, eight bytes at a time. Words end after five bytes or so: a loop over bytes would
// mispredict its last turn for nearly every word.
const char* skip_ascii_letters(const char* p, const char* end) {
  constexpr std::uint64_t kEach = 0x0101010101010101U;
  while (end - p >= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, sizeof(word));
    const std::uint64_t lower = (word | kEach * 0x20) & kEach * 0x7F;
    // The top bit of each byte: set by the first sum from 'a' on, by the second above 'z'. Sums stay within a byte.
    const std::uint64_t letters =
        (lower + kEach * (0x80 - 'a')) & ~(lower + kEach * (0x7F - 'z')) & ~word & kEach * 0x80;
    const std::uint64_t others = letters ^ kEach * 0x80;
    if (others != 0) return p + std::countr_zero(others) / 8;
    p += 8;
  }
  while (p != end && is_ascii_letter(*p)) ++p;
  return p;
}

// A region is kCjk or 0: which side of pass 2 a piece lies on. Numbers belong to neither.
bool in_region(std::uint8_t bits, std::uint8_t region) { return (bits & (kNumber | kCjk)) == region; }

}  // namespace

Splitter::Splitter(std::string_view text)
    : classes_(CharClasses::instance()), position_(text.data()), end_(text.data() + text.size()) {}

std::string_view Splitter::next() {
  if (position_ == end_) return {};
  const char* start = position_;
  position_ = end_of_piece();
  return {start, static_cast<std::size_t>(position_ - start)};
}

inline bool Splitter::has(const char* p, std::uint8_t region, std::uint8_t bits, Char* c) const {
  if (p == end_) return false;
  *c = classes_.at(p, end_);
  return in_region(c->bits, region) && (c->bits & bits) != 0;
}

inline const char* Splitter::skip(const char* p, std::uint8_t region, std::uint8_t bits) const {
  Char c;
  while (has(p, region, bits, &c)) p += c.length;
  return p;
}

// [\p{L}\p{M}]* from p.
inline const char* Splitter::skip_word(const char* p, std::uint8_t region) const {
  if (region == 0) p = skip_ascii_letters(p, end_);
  if (p == end_ || is_ascii(*p)) return p;  // in a region of CJK, ASCII is outside
  Char c;
  while (has(p, region, kWord, &c)) p += c.length;
  return p;
}

inline const char* Splitter::end_of_number(const char* p) const {
  for (int i = 0; i < 3 && p != end_; ++i) {
    const Char c = classes_.at(p, end_);
    if (!(c.bits & kNumber)) break;
    p += c.length;
  }
  return p;
}

// [\p{P}\p{S}]+[\r\n]*, from the first punctuation character.
inline const char* Splitter::end_of_punctuation(const char* p, std::uint8_t region) const {
  return skip(skip(p, region, kPunctuation), region, kNewline);
}

// \s*[\r\n]+|\s+(?!\S)|\s+ from the first white space.
const char* Splitter::end_of_space(const char* p, std::uint8_t region) const {
  const char* last = p;            // start of the last character of the run
  const char* newlines = nullptr;  // end of the last newline of the run
  const char* q = p;
  Char c;
  while (has(q, region, kSpace, &c)) {
    last = q;
    q += c.length;
    if (c.bits & kNewline) newlines = q;
  }
  if (newlines != nullptr) return newlines;
  const bool at_region_end = q == end_ || !in_region(classes_.at(q, end_).bits, region);
  if (at_region_end || last == p) return q;
  return last;  // (?!\S) gives the last one back: it goes with the word that follows
}

// A stretch that no alternative matches, from a character of class other that no word follows.
const char* Splitter::end_of_unmatched(const char* p, std::uint8_t region) const {
  while (p != end_) {
    const Char c = classes_.at(p, end_);
    if (c.bits != region) break;  // leaves the region, or begins a match
    Char following;
    if (has(p + c.length, region, kWord, &following)) break;  // optional first character of a word
    p += c.length;
  }
  return p;
}

const char* Splitter::end_of_piece() const {
  const char* p = position_;
  if (*p == ' ' && p + 1 != end_ && is_ascii_letter(p[1])) return skip_word(p + 2, 0);  // the most common piece
  const Char first = classes_.at(p, end_);
  if (first.bits & kNumber) return end_of_number(p);
  const std::uint8_t region = first.bits & kCjk;
  const char* after = p + first.length;

  if (first.bits & kWord) return skip_word(after, region);
  if (first.bits & kPunctuation) {
    if (is_ascii(*p) && after != end_ && is_ascii_letter(*after)) return skip_ascii_letters(after, end_);
    return end_of_punctuation(after, region);
  }
  Char second;
  if (!(first.bits & kNewline) && has(after, region, kWord, &second)) return skip_word(after + second.length, region);
  if (first.bits & kSpace) {
    if (*p == ' ' && has(after, region, kPunctuation, &second)) return end_of_punctuation(after, region);
    return end_of_space(p, region);
  }
  return end_of_unmatched(after, region);
}

}  // namespace hadal::tokens
