// Class of every Unicode character, as the split patterns see it.
#pragma once

#include <array>
#include <cstdint>

#include "tokens/unicode_ranges.h"
#include "tokens/utf8.h"

namespace hadal::tokens {

// One byte per code point: 1.1 MB, of which text touches a few pages. Built once from the ranges.
class CharClasses {
 public:
  static const CharClasses& instance();

  struct Char {
    std::uint8_t bits;    // CharBits
    std::uint8_t length;  // bytes
  };

  // The character at p, p < end. Each byte that does not begin a well-formed sequence is a character of class other,
  // so any byte string can be split and put together again.
  Char at(const char* p, const char* end) const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(p);
    if (*bytes < 0x80) return {bits_[*bytes], 1};
    const Utf8Step step = utf8_step(bytes, static_cast<std::size_t>(end - p));
    if (step.kind != Utf8::kWellFormed) return {kOther, 1};
    return {bits_[step.code_point], step.length};
  }

  std::uint8_t bits(char32_t code_point) const {
    return code_point < bits_.size() ? bits_[code_point] : std::uint8_t{kOther};
  }

 private:
  CharClasses();
  static constexpr std::size_t kCodePoints = 0x110000;
  std::array<std::uint8_t, kCodePoints> bits_{};
};

}  // namespace hadal::tokens
