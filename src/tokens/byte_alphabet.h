// The printable alphabet in which tokenizer.json writes bytes (GPT-2's): 33-126, 161-172 and 174-255 stand for
// themselves, the other 68 bytes, in byte order, for U+0100 upwards.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hadal::tokens {

// Byte value -> code point.
constexpr std::array<char32_t, 256> make_byte_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet[byte] = printable ? static_cast<char32_t>(byte) : next++;
  }
  return alphabet;
}
inline constexpr std::array<char32_t, 256> kByteAlphabet = make_byte_alphabet();

// Appends the bytes that `printable` (UTF-8) stands for; false, with `bytes` in any state, if a character is none of
// the 256.
bool append_bytes_of_printable(std::string_view printable, std::string& bytes);

// The inverse, for messages and tests.
std::string printable_of_bytes(std::string_view bytes);

}  // namespace hadal::tokens
