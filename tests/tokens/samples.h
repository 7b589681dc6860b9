// What the tokenizer tests share: the two tokenizers, files, random text.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "support/golden.h"
#include "tokens/tokenizer.h"

namespace hadal::test {

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::string nano_json_path() { return HADAL_SOURCE_DIR "/nano/weights/tokenizer.json"; }

// The embedded model's tokenizer: always there.
inline const Tokenizer& nano() {
  static const auto tokenizer = Tokenizer::load(nano_json_path());
  if (!tokenizer) throw std::runtime_error(tokenizer.error().what);
  return **tokenizer;
}

inline std::string official_json_path() { return external_golden() + "/tokenizer/tokenizer.json"; }

// The release's tokenizer, or null if HADAL_GOLDEN is not set. A set variable that leads nowhere is a failure.
inline const Tokenizer* official() {
  if (external_golden().empty()) return nullptr;
  static const auto tokenizer = Tokenizer::load(official_json_path());
  if (!tokenizer) throw std::runtime_error(tokenizer.error().what);
  return tokenizer->get();
}

#define HADAL_NEEDS_OFFICIAL() \
  if (::hadal::test::official() == nullptr) GTEST_SKIP() << "HADAL_GOLDEN is not set: no official tokenizer.json"

inline std::vector<std::int32_t> numbers(const std::vector<TokenId>& ids) {
  std::vector<std::int32_t> out;
  for (TokenId id : ids) out.push_back(to_int(id));
  return out;
}

inline void append_utf8(char32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

using Random = std::mt19937_64;

inline std::size_t below(Random& random, std::size_t n) { return static_cast<std::size_t>(random() % n); }

inline std::string random_bytes(Random& random, std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < size; ++i) out += static_cast<char>(random());
  return out;
}

// Characters of every class the split patterns tell apart, mixed so that borders of all kinds occur; now and then any
// Unicode character, or a byte that breaks UTF-8.
inline std::string random_text(Random& random, std::size_t characters) {
  static const std::u32string common =
      U"aaebZ  "
      U"\t\n\r\n.,'\"<>|_$"
      U"019½Ⅷ中文一龥㐀あいアー・゠゛ñßΩдעمकि\u0301\u0300\u200d\u00a0\u2028\u0085\u3000\ufeff\ue000\u0001🙂👍한국，。｜"
      U"▁٣〇"
      U"\u3040\u3097";
  std::string out;
  for (std::size_t i = 0; i < characters; ++i) {
    const std::size_t kind = below(random, 40);
    if (kind == 0) {
      char32_t c = static_cast<char32_t>(below(random, 0x110000));
      if (c >= 0xD800 && c < 0xE000) c = U'x';
      append_utf8(c, out);
    } else if (kind == 1) {
      out += static_cast<char>(0x80 + below(random, 0x80));
    } else {
      append_utf8(common[below(random, common.size())], out);
    }
  }
  return out;
}

}  // namespace hadal::test
