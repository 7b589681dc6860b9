#include "sampling/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace hadal {
namespace {

struct Outcome {
  std::string text;
  int stop = -1;
  bool operator==(const Outcome&) const = default;
};

Outcome feed_all(StopStrings matcher, const std::vector<std::string>& pieces) {
  Outcome out;
  for (const auto& piece : pieces) {
    auto step = matcher.feed(piece);
    out.text += step.text;
    if (step.stop >= 0) {
      EXPECT_EQ(out.stop, -1) << "stopped twice";
      out.stop = step.stop;
    }
  }
  out.text += matcher.finish();
  return out;
}

// The definition, by brute force: the first end of any string; the longest string of those.
Outcome expected(const std::vector<std::string>& strings, const std::string& text) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    int best = -1;
    for (std::size_t i = 0; i < strings.size(); ++i) {
      const auto& s = strings[i];
      if (s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0 &&
          (best < 0 || s.size() > strings[static_cast<std::size_t>(best)].size())) {
        best = static_cast<int>(i);
      }
    }
    if (best >= 0) return {text.substr(0, end - strings[static_cast<std::size_t>(best)].size()), best};
  }
  return {text, -1};
}

TEST(StopStrings, EverySplitOfEveryCase) {
  struct Case {
    std::vector<std::string> strings;
    std::string text;
  };
  const Case cases[] = {
      {{"STOP"}, "abc STOP def"},
      {{"\n\n"}, "one\ntwo\n\nthree"},
      {{"aab"}, "aaaab!"},
      {{"abcd", "bc"}, "xabcdy"},
      {{"bc", "abc"}, "xabcy"},
      {{"</s>", "<|end|>"}, "a<|e</s"},
      {{"ab", "ab"}, "zab"},
      {{"x"}, "x"},
      {{"\xF0\x9F\x98\x80"}, "a\xF0\x9F\x98\x81\xF0\x9F\x98\x80z"},
      {{}, "nothing stops"},
      {{"abab", "ba"}, "aabab"},
  };
  for (const auto& c : cases) {
    auto matcher = StopStrings::make(c.strings);
    ASSERT_TRUE(matcher);
    const Outcome want = expected(c.strings, c.text);
    // All 2^(n-1) ways to cut a text of up to 13 bytes; pairs of cuts beyond that.
    const std::size_t n = c.text.size();
    if (n <= 13) {
      for (unsigned cuts = 0; cuts < 1u << (n - 1); ++cuts) {
        std::vector<std::string> pieces(1);
        for (std::size_t i = 0; i < n; ++i) {
          pieces.back() += c.text[i];
          if (i + 1 < n && cuts >> i & 1) pieces.emplace_back();
        }
        ASSERT_EQ(feed_all(*matcher, pieces), want) << c.text << " cut by " << cuts;
      }
    } else {
      for (std::size_t a = 0; a <= n; ++a) {
        for (std::size_t b = a; b <= n; ++b) {
          ASSERT_EQ(feed_all(*matcher, {c.text.substr(0, a), c.text.substr(a, b - a), c.text.substr(b)}), want)
              << c.text;
        }
      }
    }
  }
}

TEST(StopStrings, RandomTextsAgreeWithTheDefinition) {
  std::mt19937 random(17);  // a fixed seed; the letters are few, so that overlaps are frequent
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> strings(1 + random() % 3);
    for (auto& s : strings) {
      for (std::size_t i = 0, n = 1 + random() % 5; i < n; ++i) s += static_cast<char>('a' + random() % 2);
    }
    std::vector<std::string> pieces(1 + random() % 6);
    std::string text;
    for (auto& p : pieces) {
      for (std::size_t i = 0, n = random() % 4; i < n; ++i) p += static_cast<char>('a' + random() % 3);
      text += p;
    }
    ASSERT_EQ(feed_all(*StopStrings::make(strings), pieces), expected(strings, text)) << text;
  }
}

TEST(StopStrings, HoldsBackOnlyWhatMayStillBecomeOne) {
  auto m = *StopStrings::make({"</tool>"});
  EXPECT_EQ(m.feed("see </to").text, "see ");
  EXPECT_EQ(m.held(), 4u);
  EXPECT_EQ(m.feed("p").text, "</top");
  EXPECT_EQ(m.held(), 0u);
  EXPECT_EQ(m.feed("<").text, "");
  EXPECT_EQ(m.finish(), "<");
}

TEST(StopStrings, NothingAfterAStop) {
  auto m = *StopStrings::make({"."});
  auto step = m.feed("a. b. c");
  EXPECT_EQ(step.text, "a");
  EXPECT_EQ(step.stop, 0);
  EXPECT_EQ(m.feed("more.").stop, -1);
  EXPECT_EQ(m.feed("more.").text, "");
  EXPECT_EQ(m.finish(), "");
}

TEST(StopStrings, RefusesWhatMakesNoSense) {
  EXPECT_FALSE(StopStrings::make({"a", ""}));
  EXPECT_FALSE(StopStrings::make(std::vector<std::string>(65, "a")));
  EXPECT_FALSE(StopStrings::make({std::string(70000, 'a')}));
  EXPECT_TRUE(StopStrings::make({std::string(60000, 'a')}));
}

TEST(StopStrings, DefaultPassesEverythingThrough) {
  StopStrings m;
  EXPECT_EQ(m.feed("abc").text, "abc");
  EXPECT_EQ(m.held(), 0u);
}

}  // namespace
}  // namespace hadal
