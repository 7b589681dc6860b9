#include "tokens/byte_alphabet.h"

namespace hadal::tokens {
namespace {

constexpr char32_t kLimit = 0x144;  // one past the last code point in use: 0x100 + 68
constexpr std::int16_t kNone = -1;

constexpr std::array<std::int16_t, kLimit> make_inverse() {
  std::array<std::int16_t, kLimit> inverse{};
  inverse.fill(kNone);
  for (std::size_t byte = 0; byte < 256; ++byte) inverse[kByteAlphabet[byte]] = static_cast<std::int16_t>(byte);
  return inverse;
}
constexpr std::array<std::int16_t, kLimit> kInverse = make_inverse();

}  // namespace

bool append_bytes_of_printable(std::string_view printable, std::string& bytes) {
  for (std::size_t i = 0; i < printable.size(); ++i) {
    // All 256 characters are below U+0800: one or two bytes of UTF-8.
    const auto lead = static_cast<unsigned char>(printable[i]);
    char32_t code_point = lead;
    if (lead >= 0x80) {
      if (lead < 0xC2 || lead > 0xDF || i + 1 == printable.size()) return false;
      const auto trail = static_cast<unsigned char>(printable[++i]);
      if ((trail & 0xC0) != 0x80) return false;
      code_point = (lead & 0x1FU) << 6 | (trail & 0x3FU);
    }
    if (code_point >= kLimit || kInverse[code_point] == kNone) return false;
    bytes.push_back(static_cast<char>(kInverse[code_point]));
  }
  return true;
}

std::string printable_of_bytes(std::string_view bytes) {
  std::string printable;
  for (char byte : bytes) {
    const char32_t c = kByteAlphabet[static_cast<unsigned char>(byte)];
    if (c < 0x80) {
      printable.push_back(static_cast<char>(c));
    } else {
      printable.push_back(static_cast<char>(0xC0 | c >> 6));
      printable.push_back(static_cast<char>(0x80 | (c & 0x3F)));
    }
  }
  return printable;
}

}  // namespace hadal::tokens
