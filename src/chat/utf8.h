// UTF-8 of whole texts: is it well-formed, and which bytes at its end are still waiting for more.
#pragma once

#include <cstddef>
#include <string_view>

#include "tokens/utf8.h"

namespace hadal::chat {

// The sequence that starts at text[at]; at < text.size().
inline tokens::Utf8Step utf8_step(std::string_view text, std::size_t at) {
  return tokens::utf8_step(reinterpret_cast<const unsigned char*>(text.data()) + at, text.size() - at);
}

inline bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    tokens::Utf8Step step = utf8_step(text, at);
    if (step.kind != tokens::Utf8::kWellFormed) return false;
    at += step.length;
  }
  return true;
}

// How many bytes at the end are the start of a sequence that more bytes could complete: 0 to 3.
inline std::size_t utf8_waiting(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (byte < 0x80) return 0;
    if (byte >= 0xC0) return utf8_step(text, text.size() - back).kind == tokens::Utf8::kTruncated ? back : 0;
  }
  return 0;
}

}  // namespace hadal::chat
