// One step of UTF-8 decoding, for text that may be ill-formed or cut anywhere. Source: Unicode 15, table 3-7.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hadal::tokens {

enum class Utf8 : std::uint8_t {
  kWellFormed,  // a whole character
  kTruncated,   // the input ends inside a character that is well-formed so far
  kIllFormed,   // a maximal subpart of an ill-formed sequence: what one U+FFFD replaces
};

struct Utf8Step {
  Utf8 kind;
  std::uint8_t length;  // bytes, 1..4
  char32_t code_point;  // meaningful for kWellFormed
};

// Reads at p[0..n), n >= 1.
inline Utf8Step utf8_step(const unsigned char* p, std::size_t n) {
  const unsigned char lead = p[0];
  if (lead < 0x80) return {Utf8::kWellFormed, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8::kIllFormed, 1, 0};
  const std::uint8_t need = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte of E0, ED, F0, F4 has a narrower range: no overlong forms, no surrogates, nothing above U+10FFFF.
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0xFFU >> (need + 1));
  for (std::uint8_t i = 1; i < need; ++i) {
    if (i == n) return {Utf8::kTruncated, i, 0};
    if (p[i] < low || p[i] > high) return {Utf8::kIllFormed, i, 0};
    code_point = code_point << 6 | (p[i] & 0x3FU);
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8::kWellFormed, need, code_point};
}

// The first `most` bytes of a well-formed text, or a little less so as to end between characters. For messages.
inline std::string_view shortened(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0) == 0x80) --most;
  return text.substr(0, most);
}

}  // namespace hadal::tokens
