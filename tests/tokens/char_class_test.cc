#include "tokens/char_class.h"

#include <gtest/gtest.h>

#include <string>

namespace hadal::tokens {
namespace {

std::uint8_t bits(char32_t c) { return CharClasses::instance().bits(c); }
std::uint32_t number(char32_t c) { return c; }

TEST(CharClass, ComesFromUnicode15OrNewer) { EXPECT_GE(std::stoi(std::string(unicode_version())), 15); }

TEST(CharClass, AsciiIsAsThePatternsSpellIt) {
  const std::string punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  ASSERT_EQ(punctuation.size(), 32u);
  for (char32_t c = 0; c < 128; ++c) {
    std::uint8_t expected = kOther;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) expected = kLetter;
    if (c >= '0' && c <= '9') expected = kNumber;
    if (punctuation.find(static_cast<char>(c)) != std::string::npos && c != 0) expected = kPunctuation;
    if ((c >= 9 && c <= 13) || c == ' ') expected = kSpace;
    if (c == '\r' || c == '\n') expected = kSpace | kNewline;
    EXPECT_EQ(bits(c), expected) << number(c);
  }
}

TEST(CharClass, WhiteSpaceIsUnicodes) {
  int count = 0;
  for (char32_t c = 0; c < 0x110000; ++c) count += (bits(c) & kSpace) != 0;
  EXPECT_EQ(count, 25);
  for (char32_t c : {0x85, 0xA0, 0x1680, 0x2000, 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000})
    EXPECT_EQ(bits(c), kSpace) << number(c);
  for (char32_t c : {0xFEFF, 0x200B, 0x180E, 0x2060}) EXPECT_EQ(bits(c), kOther) << number(c);
}

TEST(CharClass, KnowsNumbersOfAllScripts) {
  for (char32_t c : U"½Ⅷ②〇٣३５²") {
    if (c == 0) continue;  // the literal's end
    EXPECT_EQ(bits(c), kNumber) << number(c);
  }
}

TEST(CharClass, KnowsTheCjkRangesAndTheirBorders) {
  for (char32_t c : {0x4E00, 0x9FA5}) EXPECT_EQ(bits(c), kLetter | kCjk);
  EXPECT_EQ(bits(0x3041), kLetter | kCjk);
  EXPECT_EQ(bits(0x30FB), kPunctuation | kCjk);  // katakana middle dot
  EXPECT_EQ(bits(0x30A0), kPunctuation | kCjk);
  EXPECT_EQ(bits(0x309B), kPunctuation | kCjk);
  EXPECT_EQ(bits(0x3099), kMark | kCjk);
  EXPECT_EQ(bits(0x3040), kOther | kCjk);  // unassigned
  for (char32_t c : {0x9FA6, 0x3400, 0x20000, 0xAC00, 0x3105}) EXPECT_EQ(bits(c), kLetter) << number(c);
  EXPECT_EQ(bits(0x303F), kPunctuation);
  EXPECT_EQ(bits(0x3100), kOther);
}

TEST(CharClass, KnowsMarksSymbolsAndTheRest) {
  EXPECT_EQ(bits(0x0301), kMark);
  EXPECT_EQ(bits(0x093F), kMark);
  EXPECT_EQ(bits(0x1F642), kPunctuation);
  EXPECT_EQ(bits(0xFF5C), kPunctuation);
  EXPECT_EQ(bits(0x2581), kPunctuation);
  for (char32_t c : {0x200D, 0xE000, 0x10FFFF, 0x0378, 0xD800}) EXPECT_EQ(bits(c), kOther) << number(c);
  EXPECT_EQ(bits(0x31350), kLetter);  // CJK Extension H, new in Unicode 15.0
  EXPECT_EQ(bits(0x110000), kOther);
}

TEST(CharClass, IllFormedBytesAreCharactersOfClassOther) {
  for (std::string text : {"\x80", "\xC0\x80", "\xE4\xB8", "\xED\xA0\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    const auto c = CharClasses::instance().at(text.data(), text.data() + text.size());
    EXPECT_EQ(c.bits, kOther);
    EXPECT_EQ(c.length, 1);
  }
  const std::string text = "中";
  EXPECT_EQ(CharClasses::instance().at(text.data(), text.data() + 3).length, 3);
}

}  // namespace
}  // namespace hadal::tokens
