#include "tokens/byte_alphabet.h"

#include <gtest/gtest.h>

namespace hadal::tokens {
namespace {

TEST(ByteAlphabet, IsGpt2s) {
  EXPECT_EQ(printable_of_bytes("a!~"), "a!~");
  EXPECT_EQ(printable_of_bytes(" "), "Ġ");
  EXPECT_EQ(printable_of_bytes("\n"), "Ċ");
  EXPECT_EQ(printable_of_bytes(std::string_view("\0", 1)), "Ā");
  EXPECT_EQ(printable_of_bytes("\x7F"), "ġ");
  EXPECT_EQ(printable_of_bytes("\xAD"), "Ń");  // the last of the 68
  EXPECT_EQ(printable_of_bytes("深"), "æ·±");
}

TEST(ByteAlphabet, RoundTripsEveryByte) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::string back;
  ASSERT_TRUE(append_bytes_of_printable(printable_of_bytes(all), back));
  EXPECT_EQ(back, all);
}

TEST(ByteAlphabet, RefusesOtherCharacters) {
  for (std::string_view text : {" ", "\n", "a b", "\u00AD", "\u0144", "中", "🙂", "\xC4", "\xC4x", "\xFF", "▁"}) {
    std::string bytes;
    EXPECT_FALSE(append_bytes_of_printable(text, bytes)) << text;
  }
}

}  // namespace
}  // namespace hadal::tokens
