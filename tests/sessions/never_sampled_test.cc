#include <gtest/gtest.h>

#include "sessions/engine.h"
#include "tokens/made_up.h"

namespace hadal {
namespace {

TEST(NeverSampled, IdsWithoutTextAndPlaceholders) {
  // Bytes are 0 to 255; the added tokens follow.
  const auto json = test::made_up_json({}, {"<|place_holder_mm_span_0021|>", "<think>", "<|place_holder_mm_span_0022|>",
                                            "<|place_holder_mm_span_0023|>"});
  const auto tokenizer = Tokenizer::from_json(json.dump(), "made up");
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().what;
  const std::vector<IdRange> ranges = never_sampled(**tokenizer, 264);
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_EQ(ranges[0].begin, 256);
  EXPECT_EQ(ranges[0].end, 257);
  EXPECT_EQ(ranges[1].begin, 258);  // two placeholders, then ids in no text
  EXPECT_EQ(ranges[1].end, 264);
}

}  // namespace
}  // namespace hadal
