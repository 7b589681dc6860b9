// UTF-8 by the byte: how long the sequence at a place is, and which bytes at the end of a piece are still waiting.
#pragma once

#include <cstddef>
#include <string_view>

namespace hadal::chat {

struct Utf8Step {
  std::size_t length;  // bytes of the sequence, or of the valid prefix of a broken one; at least 1
  bool valid;          // a whole, shortest-form code point that is not a surrogate
  bool incomplete;     // not valid, but more bytes could make it so: the text ends inside the sequence
};

// The sequence at text[at]; at < text.size().
constexpr Utf8Step utf8_step(std::string_view text, std::size_t at) {
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  std::size_t need = lead >= 0xC2 && lead <= 0xDF   ? 2
                     : lead >= 0xE0 && lead <= 0xEF ? 3
                     : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                    : 0;
  if (need == 0) return {1, false, false};
  // The second byte's range excludes overlong forms, surrogates and code points past U+10FFFF (Unicode table 3-7).
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < need; ++i) {
    if (at + i == text.size()) return {i, false, true};
    unsigned char b = byte(i);
    if (b < (i == 1 ? low : 0x80) || b > (i == 1 ? high : 0xBF)) return {i, false, false};
  }
  return {need, true, false};
}

constexpr bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    Utf8Step step = utf8_step(text, at);
    if (!step.valid) return false;
    at += step.length;
  }
  return true;
}

// How many bytes at the end are the start of a sequence that more bytes could complete: 0 to 3.
constexpr std::size_t utf8_waiting(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    auto b = static_cast<unsigned char>(text[text.size() - back]);
    if (b < 0x80) return 0;
    if (b >= 0xC0) return utf8_step(text, text.size() - back).incomplete ? back : 0;
  }
  return 0;
}

}  // namespace hadal::chat
