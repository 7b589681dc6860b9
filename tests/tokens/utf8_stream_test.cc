#include "tokens/utf8_stream.h"

#include <gtest/gtest.h>

#include <set>

#include "tokens/samples.h"

namespace hadal {
namespace {

std::string whole(std::string_view bytes) {
  std::string out;
  Utf8Stream stream;
  stream.push(bytes, out);
  stream.finish(out);
  return out;
}

// All proper prefixes of all well-formed characters. The last byte is free, so every 64th character is enough.
std::set<std::string> all_prefixes() {
  std::set<std::string> prefixes;
  for (char32_t c = 0x80; c < 0x110000; c += 64) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string bytes;
    test::append_utf8(c, bytes);
    for (std::size_t i = 1; i < bytes.size(); ++i) prefixes.insert(bytes.substr(0, i));
  }
  return prefixes;
}

// Unicode's definition (3.9, U+FFFD substitution of maximal subparts), by search.
std::string by_definition(const std::string& bytes) {
  static const std::set<std::string> prefixes = all_prefixes();
  std::string out;
  for (std::size_t i = 0; i < bytes.size();) {
    std::size_t subpart = 0;
    while (i + subpart < bytes.size() && prefixes.contains(bytes.substr(i, subpart + 1))) ++subpart;
    const auto next = i + subpart < bytes.size() ? static_cast<unsigned char>(bytes[i + subpart]) : 0u;
    const bool continues = i + subpart < bytes.size() && next >= 0x80 && next < 0xC0;
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const std::size_t need = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead < 0x80) {
      out += bytes[i++];
    } else if (subpart + 1 == need && subpart > 0 && continues) {
      out += bytes.substr(i, need);
      i += need;
    } else {
      out += "\uFFFD";
      i += std::max<std::size_t>(subpart, 1);
    }
  }
  return out;
}

TEST(Utf8Stream, ReplacesMaximalSubparts) {
  // Unicode 15, tables 3-8 to 3-11.
  EXPECT_EQ(whole("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  EXPECT_EQ(whole("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  EXPECT_EQ(whole("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB");
  EXPECT_EQ(whole("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "\uFFFD\uFFFD\uFFFD\uFFFDA");
}

TEST(Utf8Stream, HoldsUnfinishedCharactersOnly) {
  Utf8Stream stream;
  std::string out;
  stream.push("a\xF0\x9F", out);
  EXPECT_EQ(out, "a");
  EXPECT_EQ(stream.pending(), "\xF0\x9F");
  stream.push("", out);
  stream.push("\x99", out);
  EXPECT_EQ(out, "a");
  EXPECT_EQ(stream.pending().size(), 3u);
  stream.push("\x82\xE4", out);
  EXPECT_EQ(out, "a🙂");
  EXPECT_EQ(stream.pending(), "\xE4");
  stream.push("x", out);  // certain now: no character begins so
  EXPECT_EQ(out, "a🙂\uFFFDx");
  stream.finish(out);
  EXPECT_EQ(out, "a🙂\uFFFDx");
  stream.push("\xE4\xBD", out);
  stream.finish(out);
  EXPECT_EQ(out, "a🙂\uFFFDx\uFFFD");
  EXPECT_EQ(stream.pending(), "");
}

std::string broken_text(test::Random& random) {
  static const std::string alphabet = "a\x80\x9F\xA0\x8F\x90\xBF\xC1\xC2\xDF\xE0\xE4\xED\xEF\xF0\xF1\xF4\xF5\xFF";
  std::string bytes;
  for (std::size_t n = 1 + test::below(random, 10); n > 0; --n) {
    // Continuation bytes are more likely, so that whole characters occur.
    bytes += test::below(random, 2) != 0 ? alphabet[1 + test::below(random, 6)]
                                         : alphabet[test::below(random, alphabet.size())];
  }
  return bytes;
}

TEST(Utf8Stream, FollowsTheDefinition) {
  test::Random random(7);
  for (int i = 0; i < 20000; ++i) {
    const std::string bytes = broken_text(random);
    ASSERT_EQ(whole(bytes), by_definition(bytes)) << testing::PrintToString(bytes);
  }
}

TEST(Utf8Stream, PortionsDoNotMatter) {
  test::Random random(8);
  for (int i = 0; i < 1000; ++i) {
    const std::string bytes = broken_text(random);
    const std::string expected = whole(bytes);
    for (std::size_t cuts = 0; cuts < (std::size_t{1} << (bytes.size() - 1)); ++cuts) {  // every way to cut it
      Utf8Stream stream;
      std::string out;
      std::size_t from = 0;
      for (std::size_t at = 1; at <= bytes.size(); ++at) {
        if (at != bytes.size() && (cuts >> (at - 1) & 1) == 0) continue;
        stream.push(std::string_view(bytes).substr(from, at - from), out);
        ASSERT_LE(stream.pending().size(), 3u);
        from = at;
      }
      stream.finish(out);
      ASSERT_EQ(out, expected) << testing::PrintToString(bytes) << " cut at " << cuts;
    }
  }
}

}  // namespace
}  // namespace hadal
