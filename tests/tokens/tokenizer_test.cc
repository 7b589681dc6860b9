#include "tokens/tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "tokens/made_up.h"
#include "tokens/samples.h"
#include "tokens/textbook.h"

namespace hadal {
namespace {

using test::nano;
using test::numbers;

std::string bytes_of(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::string out;
  EXPECT_TRUE(tokenizer.decode_bytes(ids, out));
  return out;
}

// Text with added tokens, whole and cut short, strewn in.
std::string random_prompt(test::Random& random, const Tokenizer& tokenizer, std::size_t parts) {
  static const std::vector<std::string> markers = {"<think>",         "</think>", "<｜User｜>",
                                                   "<｜Assistant｜>", "｜DSML｜", "<｜end▁of▁sentence｜>"};
  std::string text;
  for (; parts > 0; --parts) {
    if (test::below(random, 3) != 0) {
      text += test::random_text(random, test::below(random, 8));
    } else {
      const std::string& marker = markers[test::below(random, markers.size())];
      EXPECT_TRUE(tokenizer.find_added(marker));
      text += marker.substr(0, test::below(random, 4) == 0 ? test::below(random, marker.size()) : marker.size());
    }
  }
  return text;
}

TEST(Tokenizer, RoundTripsAnyBytes) {
  test::Random random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = test::random_bytes(random, test::below(random, 200));
    ASSERT_EQ(bytes_of(nano(), nano().encode(text)), text);
    ASSERT_EQ(bytes_of(nano(), nano().encode_literal(text)), text);
  }
}

TEST(Tokenizer, RoundTripsAnyText) {
  test::Random random(2);
  for (int i = 0; i < 5000; ++i) {
    const std::string text = random_prompt(random, nano(), 6);
    ASSERT_EQ(bytes_of(nano(), nano().encode(text)), text);
  }
}

void expect_textbook(const Tokenizer& tokenizer, const std::string& json_path, int texts) {
  const test::TextbookBpe textbook(nlohmann::json::parse(test::read_text(json_path)));
  test::Random random(3);
  for (int i = 0; i < texts; ++i) {
    const std::string text = test::random_text(random, test::below(random, 60));
    ASSERT_EQ(numbers(tokenizer.encode_literal(text)), numbers(textbook.encode(text))) << testing::PrintToString(text);
  }
}

TEST(Tokenizer, EncodesAsTheTextbookDoes) { expect_textbook(nano(), test::nano_json_path(), 8000); }

TEST(Tokenizer, EncodesAsTheTextbookDoesWithTheOfficialVocabulary) {
  HADAL_NEEDS_OFFICIAL();
  expect_textbook(*test::official(), test::official_json_path(), 4000);
}

TEST(Tokenizer, AppendsWithoutTouchingWhatIsThere) {
  std::vector<TokenId> ids = {TokenId{5}};
  nano().encode("the ", ids);
  nano().encode_literal("<think>", ids);
  EXPECT_EQ(ids[0], TokenId{5});
  auto expected = std::vector{TokenId{5}};
  for (TokenId id : nano().encode("the ")) expected.push_back(id);
  for (TokenId id : nano().encode_literal("<think>")) expected.push_back(id);
  EXPECT_EQ(ids, expected);
}

TEST(Tokenizer, LiteralTextHoldsNoMarkers) {
  const auto ids = nano().encode_literal("<think></think><｜User｜>");
  for (TokenId id : ids) EXPECT_FALSE(nano().is_added(id));
  EXPECT_EQ(nano().decode(ids).value(), "<think></think><｜User｜>");
  EXPECT_EQ(nano().encode("<think></think><｜User｜>").size(), 3u);
}

TEST(Tokenizer, SegmentsRecogniseMarkersInMarkupOnly) {
  const std::vector<TextSegment> segments = {{"<｜User｜>", true}, {"say <think> ", false}, {"<think>", true}};
  auto expected = nano().encode("<｜User｜>");
  nano().encode_literal("say <think> ", expected);
  nano().encode("<think>", expected);
  EXPECT_EQ(nano().encode(segments), expected);
}

TEST(Tokenizer, SegmentsBetweenMarkersAreOneString) {
  // "the" cut in two would be other tokens; the template's own words join those around them.
  const std::vector<TextSegment> segments = {{"<｜User｜>", true}, {"in t", false}, {"h", true},  {"e garden", false},
                                             {"", true},           {" 12", false},  {"34", false}};
  auto expected = nano().encode("<｜User｜>");
  nano().encode_literal("in the garden 1234", expected);
  EXPECT_EQ(nano().encode(segments), expected);
  EXPECT_TRUE(nano().encode(std::span<const TextSegment>{}).empty());
}

TEST(Tokenizer, AMarkerDoesNotReachOutOfMarkup) {
  EXPECT_EQ(nano().encode(std::vector<TextSegment>{{"<thi", true}, {"nk>", true}}), nano().encode("<think>"));
  EXPECT_EQ(nano().encode(std::vector<TextSegment>{{"<thi", true}, {"nk>", false}}), nano().encode_literal("<think>"));
  EXPECT_EQ(nano().encode(std::vector<TextSegment>{{"<thi", false}, {"nk>", true}}), nano().encode_literal("<think>"));
  EXPECT_EQ(nano().encode(std::vector<TextSegment>{{"<thi", true}, {"", false}, {"nk>", true}}),
            nano().encode_literal("<think>"));
}

TEST(Tokenizer, CuttingASegmentChangesNothing) {
  test::Random random(4);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::string> texts;
    std::vector<TextSegment> segments;
    for (int k = 0; k < 5; ++k) texts.push_back(random_prompt(random, nano(), 2));
    for (const std::string& text : texts) segments.push_back({text, test::below(random, 2) == 0});
    std::vector<TextSegment> cut;
    for (const TextSegment& segment : segments) {
      const std::size_t at = test::below(random, segment.text.size() + 1);
      cut.push_back({segment.text.substr(0, at), segment.is_markup});
      cut.push_back({segment.text.substr(at), segment.is_markup});
    }
    ASSERT_EQ(nano().encode(cut), nano().encode(segments));
  }
}

TEST(Tokenizer, SegmentsOfOneKindAreTheirConcatenation) {
  test::Random random(5);
  for (int i = 0; i < 2000; ++i) {
    const std::string a = random_prompt(random, nano(), 2), b = random_prompt(random, nano(), 2);
    ASSERT_EQ(nano().encode(std::vector<TextSegment>{{a, true}, {b, true}}), nano().encode(a + b));
    ASSERT_EQ(nano().encode(std::vector<TextSegment>{{a, false}, {b, false}}), nano().encode_literal(a + b));
  }
}

TEST(Tokenizer, DecodesWithReplacementAndRefusesUnknownIds) {
  std::vector<TokenId> ids = nano().encode("a\xE4\xB8");
  EXPECT_EQ(nano().decode(ids).value(), "a\uFFFD");
  ids.push_back(TokenId{nano().vocab_size()});
  const auto text = nano().decode(ids);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kUsage);
  EXPECT_NE(text.error().what.find("1024"), std::string::npos) << text.error().what;
  std::string bytes;
  EXPECT_FALSE(nano().decode_bytes(ids, bytes));
}

TEST(Tokenizer, SkipsOnlySpecialTokens) {
  const auto ids = nano().encode("<｜begin▁of▁sentence｜><｜User｜>a<think>b</think>｜DSML｜<｜end▁of▁sentence｜>");
  EXPECT_EQ(nano().decode_without_special(ids).value(), "<｜User｜>a<think>b</think>｜DSML｜");
  EXPECT_EQ(nano().decode(ids).value(),
            "<｜begin▁of▁sentence｜><｜User｜>a<think>b</think>｜DSML｜<｜end▁of▁sentence｜>");
}

TEST(Tokenizer, TwoTokenizersInOneThreadDoNotMixTheirCaches) {
  const auto other = test::load_json(test::made_up_json({{"t", "h"}, {"th", "e"}}, {"<think>"}));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(numbers(other->encode("the")), std::vector{257});
    EXPECT_EQ(nano().decode(nano().encode("the the")).value(), "the the");
    EXPECT_EQ(other->decode(other->encode("the the")).value(), "the the");
  }
}

TEST(Tokenizer, ManyThreadsMayUseOne) {
  test::Random random(6);
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back(random_prompt(random, nano(), 8));
  std::vector<std::vector<TokenId>> expected;
  for (const auto& text : texts) expected.push_back(nano().encode(text));
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < texts.size(); ++i)
        wrong[t] += nano().encode(texts[(i + t * 37) % texts.size()]) != expected[(i + t * 37) % texts.size()];
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(StreamDecoder, GivesTheWholeTextInPortions) {
  test::Random random(9);
  for (int i = 0; i < 3000; ++i) {
    // Any ids, so that characters are cut, completed and broken in every way.
    std::vector<TokenId> ids;
    for (std::size_t n = test::below(random, 40); n > 0; --n)
      ids.push_back(TokenId{static_cast<std::int32_t>(test::below(random, 1024))});
    if (i % 2 == 0) ids = nano().encode(test::random_text(random, 20));
    StreamDecoder decoder(nano());
    std::string text;
    for (TokenId id : ids) {
      std::string delta;
      ASSERT_TRUE(decoder.push(id, delta));
      Utf8Stream check;
      std::string same;
      check.push(delta, same);
      EXPECT_EQ(same, delta);  // well-formed, nothing held back
      text += delta;
      ASSERT_LE(decoder.pending().size(), 3u);
    }
    decoder.finish(text);
    ASSERT_EQ(text, nano().decode(ids).value());
  }
}

TEST(StreamDecoder, RefusesUnknownIdsAndGoesOn) {
  StreamDecoder decoder(nano());
  const auto ids = nano().encode("é");
  std::string text;
  ASSERT_EQ(ids.size(), 2u);
  ASSERT_TRUE(decoder.push(ids[0], text));
  EXPECT_FALSE(decoder.push(TokenId{1024}, text));
  EXPECT_FALSE(decoder.push(TokenId{-1}, text));
  ASSERT_TRUE(decoder.push(ids[1], text));
  EXPECT_EQ(text, "é");
}

}  // namespace
}  // namespace hadal
