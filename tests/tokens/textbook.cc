#include "tokens/textbook.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "tokens/char_class.h"
#include "tokens/samples.h"

namespace hadal::test {
namespace {

struct Char {
  std::string bytes;
  unsigned bits;
};
using Chars = std::vector<Char>;

// The well-formed character at `i`, found by encoding what the bytes would mean; otherwise one byte of class other.
Char char_at(const std::string& text, std::size_t i) {
  for (std::size_t size = 1; size <= 4 && i + size <= text.size(); ++size) {
    const std::string bytes = text.substr(i, size);
    constexpr unsigned kLeadBits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    char32_t c = static_cast<unsigned char>(bytes[0]) & kLeadBits[size];
    for (std::size_t k = 1; k < size; ++k) c = c << 6 | (static_cast<unsigned char>(bytes[k]) & 0x3F);
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) continue;
    std::string again;
    append_utf8(c, again);
    if (again == bytes) return {bytes, tokens::CharClasses::instance().bits(c)};
  }
  return {text.substr(i, 1), tokens::kOther};
}

// A pattern gives the number of characters it matches at `i`, or 0.
using Pattern = std::function<std::size_t(const Chars&, std::size_t)>;

// "Isolated": matches become pieces, and so does each longest stretch between them.
std::vector<Chars> split(const std::vector<Chars>& pieces, const Pattern& pattern) {
  std::vector<Chars> out;
  for (const Chars& piece : pieces) {
    Chars unmatched;
    std::size_t i = 0;
    while (i < piece.size()) {
      const std::size_t n = pattern(piece, i);
      if (n == 0) {
        unmatched.push_back(piece[i++]);
        continue;
      }
      if (!unmatched.empty()) out.push_back(std::exchange(unmatched, {}));
      out.emplace_back(piece.begin() + static_cast<std::ptrdiff_t>(i),
                       piece.begin() + static_cast<std::ptrdiff_t>(i + n));
      i += n;
    }
    if (!unmatched.empty()) out.push_back(unmatched);
  }
  return out;
}

bool is(const Chars& text, std::size_t i, unsigned bits) { return i < text.size() && (text[i].bits & bits) != 0; }
bool is_ascii(const Chars& text, std::size_t i) {
  return i < text.size() && static_cast<unsigned char>(text[i].bytes[0]) < 0x80;
}
std::size_t run(const Chars& text, std::size_t i, unsigned bits) {
  std::size_t n = 0;
  while (is(text, i + n, bits)) ++n;
  return n;
}

using tokens::kCjk;
using tokens::kLetter;
using tokens::kMark;
using tokens::kNewline;
using tokens::kNumber;
using tokens::kPunctuation;
using tokens::kSpace;

// \p{N}{1,3}
std::size_t numbers_pattern(const Chars& text, std::size_t i) {
  return std::min<std::size_t>(run(text, i, kNumber), 3);
}

// [CJK]+
std::size_t cjk_pattern(const Chars& text, std::size_t i) { return run(text, i, kCjk); }

// ASCII punctuation, then [A-Za-z]+
std::size_t punctuation_and_letters(const Chars& text, std::size_t i) {
  if (!is_ascii(text, i) || !is(text, i, kPunctuation)) return 0;
  std::size_t n = 0;
  while (is_ascii(text, i + 1 + n) && is(text, i + 1 + n, kLetter)) ++n;
  return n == 0 ? 0 : n + 1;
}

// [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
std::size_t word(const Chars& text, std::size_t i) {
  if (i < text.size() && !is(text, i, kNewline | kLetter | kPunctuation)) {
    const std::size_t n = run(text, i + 1, kLetter | kMark);
    if (n > 0) return n + 1;
  }
  return run(text, i, kLetter | kMark);
}

// ` ?[\p{P}\p{S}]+[\r\n]*`
std::size_t punctuation(const Chars& text, std::size_t i) {
  const std::size_t space = i < text.size() && text[i].bytes == " " ? 1 : 0;
  const std::size_t n = run(text, i + space, kPunctuation);
  if (n == 0) return 0;
  return space + n + run(text, i + space + n, kNewline);
}

// \s*[\r\n]+
std::size_t newlines(const Chars& text, std::size_t i) {
  for (std::size_t spaces = run(text, i, kSpace) + 1; spaces-- > 0;) {
    const std::size_t n = run(text, i + spaces, kNewline);
    if (n > 0) return spaces + n;
  }
  return 0;
}

// \s+(?!\S)
std::size_t spaces_before_space(const Chars& text, std::size_t i) {
  for (std::size_t spaces = run(text, i, kSpace); spaces > 0; --spaces) {
    if (i + spaces == text.size() || is(text, i + spaces, kSpace)) return spaces;
  }
  return 0;
}

// \s+
std::size_t spaces(const Chars& text, std::size_t i) { return run(text, i, kSpace); }

std::size_t words_pattern(const Chars& text, std::size_t i) {
  for (auto* alternative : {punctuation_and_letters, word, punctuation, newlines, spaces_before_space, spaces}) {
    if (const std::size_t n = alternative(text, i); n > 0) return n;
  }
  return 0;
}

}  // namespace

std::vector<std::string> textbook_split(const std::string& text) {
  Chars all;
  for (std::size_t i = 0; i < text.size(); i += all.back().bytes.size()) all.push_back(char_at(text, i));
  std::vector<Chars> pieces;
  if (!all.empty()) pieces.push_back(all);
  for (auto* pattern : {numbers_pattern, cjk_pattern, words_pattern}) pieces = split(pieces, pattern);
  std::vector<std::string> out;
  for (const Chars& piece : pieces) {
    out.emplace_back();
    for (const Char& c : piece) out.back() += c.bytes;
  }
  return out;
}

TextbookBpe::TextbookBpe(const nlohmann::json& tokenizer) {
  const auto& model = tokenizer.at("model");
  for (const auto& [text, id] : model.at("vocab").items()) ids_[text] = id;
  int rank = 0;
  for (const auto& merge : model.at("merges")) {
    const std::string text = merge;
    const auto space = text.find(' ');
    ranks_[{text.substr(0, space), text.substr(space + 1)}] = rank++;
  }
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    append_utf8(printable ? byte : next++, printable_[byte]);
  }
}

std::vector<TokenId> TextbookBpe::merge(const std::string& piece) const {
  std::vector<std::string> parts;
  for (char byte : piece) parts.push_back(printable_[static_cast<unsigned char>(byte)]);
  for (;;) {
    std::size_t best = parts.size();
    int best_rank = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks_.find({parts[i], parts[i + 1]});
      if (found == ranks_.end() || (best != parts.size() && found->second >= best_rank)) continue;
      best = i;
      best_rank = found->second;
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best + 1));
  }
  std::vector<TokenId> out;
  for (const std::string& part : parts) out.push_back(TokenId{ids_.at(part)});
  return out;
}

std::vector<TokenId> TextbookBpe::encode(const std::string& text) const {
  std::vector<TokenId> out;
  for (const std::string& piece : textbook_split(text)) {
    const auto ids = merge(piece);
    out.insert(out.end(), ids.begin(), ids.end());
  }
  return out;
}

}  // namespace hadal::test
