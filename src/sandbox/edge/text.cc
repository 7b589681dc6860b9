#include "sandbox/edge/text.h"

#include <fmt/core.h>

#include <array>
#include <cctype>
#include <cstdint>

namespace hadal::sandbox {
namespace {

constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool is_utf8(std::string_view s) {
  for (std::size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    const std::size_t n = c < 0x80                ? 1
                          : c >= 0xC2 && c < 0xE0 ? 2
                          : (c & 0xF0) == 0xE0    ? 3
                          : c >= 0xF0 && c < 0xF5 ? 4
                                                  : 0;
    if (n == 0 || i + n > s.size()) return false;
    std::uint32_t code = n == 1 ? c : c & (0x7Fu >> n);
    for (std::size_t k = 1; k < n; ++k) {
      const auto d = static_cast<unsigned char>(s[i + k]);
      if ((d & 0xC0) != 0x80) return false;
      code = code << 6 | (d & 0x3Fu);
    }
    if ((n == 3 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) ||
        (n == 4 && (code < 0x10000 || code > 0x10FFFF)))
      return false;
    i += n;
  }
  return true;
}

std::string base64(std::string_view s) {
  std::string out;
  out.reserve((s.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < s.size(); i += 3) {
    const auto at = [&](std::size_t k) -> std::uint32_t {
      return i + k < s.size() ? static_cast<unsigned char>(s[i + k]) : 0;
    };
    const std::uint32_t v = at(0) << 16 | at(1) << 8 | at(2);
    out += kLetters[v >> 18];
    out += kLetters[v >> 12 & 63];
    out += i + 1 < s.size() ? kLetters[v >> 6 & 63] : '=';
    out += i + 2 < s.size() ? kLetters[v & 63] : '=';
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view s) {
  if (s.size() % 4 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i < s.size(); i += 4) {
    std::uint32_t v = 0;
    int pads = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      const auto letter = kLetters.find(s[i + k]);
      if (s[i + k] == '=' && i + 4 == s.size() && k >= 2)
        ++pads;
      else if (letter == std::string_view::npos || pads > 0)
        return std::nullopt;
      v = v << 6 | static_cast<std::uint32_t>(letter == std::string_view::npos ? 0 : letter);
    }
    for (int k = 0; k < 3 - pads; ++k) out += static_cast<char>(v >> (16 - 8 * k) & 255);
  }
  return out;
}

std::optional<std::string> from_percent(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '%') {
      out += s[i] == '+' ? ' ' : s[i];
      continue;
    }
    if (i + 2 >= s.size()) return std::nullopt;
    const int high = hex_digit(s[i + 1]), low = hex_digit(s[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string to_percent(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_' || c == '/')
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace hadal::sandbox
