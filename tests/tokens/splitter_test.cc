#include "tokens/splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokens/samples.h"
#include "tokens/textbook.h"

namespace hadal::tokens {
namespace {

using testing::ElementsAre;

std::vector<std::string> pieces(std::string_view text) {
  Splitter splitter(text);
  std::vector<std::string> out;
  for (auto piece = splitter.next(); !piece.empty(); piece = splitter.next()) out.emplace_back(piece);
  return out;
}

TEST(Splitter, CutsWordsAndPunctuation) {
  EXPECT_THAT(pieces(""), ElementsAre());
  EXPECT_THAT(pieces("Hello, world!"), ElementsAre("Hello", ",", " world", "!"));
  EXPECT_THAT(pieces("don't"), ElementsAre("don", "'t"));
  EXPECT_THAT(pieces(" (a"), ElementsAre(" (", "a"));
  EXPECT_THAT(pieces("(a"), ElementsAre("(a"));
  EXPECT_THAT(pieces("x = y;\n\n  z"), ElementsAre("x", " =", " y", ";\n\n", " ", " z"));
  EXPECT_THAT(pieces("naïve café"), ElementsAre("naïve", " café"));
  EXPECT_THAT(pieces("\tword"), ElementsAre("\tword"));
}

TEST(Splitter, CutsNumbersInThrees) {
  EXPECT_THAT(pieces("1234567"), ElementsAre("123", "456", "7"));
  EXPECT_THAT(pieces("a1b22"), ElementsAre("a", "1", "b", "22"));
  EXPECT_THAT(pieces("½Ⅷ②〇"), ElementsAre("½Ⅷ②", "〇"));
}

// In one alternation, the last space would be left for the number: the look-ahead must not see it.
TEST(Splitter, TakesSpaceBeforeNumbersAndCjkWhole) {
  EXPECT_THAT(pieces("a  1"), ElementsAre("a", "  ", "1"));
  EXPECT_THAT(pieces("a  中"), ElementsAre("a", "  ", "中"));
  EXPECT_THAT(pieces("a  b"), ElementsAre("a", " ", " b"));
  EXPECT_THAT(pieces("a  한"), ElementsAre("a", " ", " 한"));
}

TEST(Splitter, SplitsKatakanaAtItsPunctuation) {
  EXPECT_THAT(pieces("ア・イ"), ElementsAre("ア", "・", "イ"));
  EXPECT_THAT(pieces("中a文"), ElementsAre("中", "a", "文"));
  EXPECT_THAT(pieces("。中"), ElementsAre("。", "中"));
  EXPECT_THAT(pieces("x㐀龦y"), ElementsAre("x㐀龦y"));  // Han outside the range sticks to Latin
}

TEST(Splitter, BacksUpToTheLastNewline) {
  EXPECT_THAT(pieces("\n  \n  x"), ElementsAre("\n  \n", " ", " x"));
  EXPECT_THAT(pieces("  \r\n"), ElementsAre("  \r\n"));
  EXPECT_THAT(pieces("\u00a0\u2028x"), ElementsAre("\u00a0", "\u2028x"));
}

TEST(Splitter, KeepsUnmatchedStretchesWhole) {
  EXPECT_THAT(pieces("\x01\x02\x03"), ElementsAre("\x01\x02\x03"));
  EXPECT_THAT(pieces("\x01\x02x"), ElementsAre("\x01", "\x02x"));
  EXPECT_THAT(pieces("\u200d\u200d!"), ElementsAre("\u200d\u200d", "!"));
  EXPECT_THAT(pieces("\xff\xfe中"), ElementsAre("\xff\xfe", "中"));
  EXPECT_THAT(pieces("\xe4\xb8x"), ElementsAre("\xe4", "\xb8x"));  // each byte of a cut character is a character
  EXPECT_THAT(pieces("\u3040\u3040あ"), ElementsAre("\u3040", "\u3040あ"));
}

TEST(Splitter, RunsOfLettersOfAnyLengthAreOnePiece) {
  for (std::size_t n = 1; n < 40; ++n) {
    const std::string letters(n, 'Q');
    EXPECT_THAT(pieces(letters), ElementsAre(letters));
    EXPECT_THAT(pieces(letters + "@x"), ElementsAre(letters, "@x"));
    EXPECT_THAT(pieces(letters + "é["), ElementsAre(letters + "é", "["));
  }
}

TEST(Splitter, AgreesWithTheTextbook) {
  test::Random random(20240801);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = test::random_text(random, 1 + test::below(random, 24));
    ASSERT_EQ(pieces(text), test::textbook_split(text)) << testing::PrintToString(text);
  }
}

TEST(Splitter, AgreesWithTheTextbookOnAllOrdersOfAsciiClasses) {
  // One representative of each ASCII class, in all orders.
  const std::string classes = "aZ1 .\n\r\t\x01";
  const auto n = classes.size();
  for (std::size_t i = 0; i < n * n * n * n * n; ++i) {
    std::string text;
    for (std::size_t k = i, digit = 0; digit < 5; ++digit, k /= n) text += classes[k % n];
    ASSERT_EQ(pieces(text), test::textbook_split(text)) << testing::PrintToString(text);
  }
}

}  // namespace
}  // namespace hadal::tokens
