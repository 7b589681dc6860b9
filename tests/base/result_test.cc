#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/span.h"

namespace hadal {
namespace {

Result<int> half(int x) {
  if (x % 2 != 0) return fail(ErrorCode::kBadInput, "{} is odd", x);
  return x / 2;
}

Result<int> quarter(int x) {
  int h = HADAL_TRY(half(x));
  return HADAL_TRY(half(h));
}

Status check(int x) {
  HADAL_CHECK_OK(half(x));
  return {};
}

TEST(Result, TryUnwrapsOrReturnsTheError) {
  EXPECT_EQ(quarter(12).value(), 3);
  auto bad = quarter(6);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, ErrorCode::kBadInput);
  EXPECT_EQ(bad.error().what, "3 is odd");
}

TEST(Result, CheckOkReturnsTheError) {
  EXPECT_TRUE(check(2));
  ASSERT_FALSE(check(3));
  EXPECT_EQ(check(3).error().what, "3 is odd");
}

Result<std::unique_ptr<int>> make(bool good) {
  if (!good) return fail(ErrorCode::kNoMemory, "none left");
  return std::make_unique<int>(7);
}

Result<int> use(bool good) {
  std::unique_ptr<int> p = HADAL_TRY(make(good));  // move-only values pass through
  return *p;
}

TEST(Result, MoveOnlyValues) {
  EXPECT_EQ(use(true).value(), 7);
  EXPECT_EQ(use(false).error().code, ErrorCode::kNoMemory);
}

TEST(Result, ExitStatus) {
  EXPECT_EQ(exit_status(ErrorCode::kUsage), 2);
  EXPECT_EQ(exit_status(ErrorCode::kBadInput), 2);
  EXPECT_EQ(exit_status(ErrorCode::kNotFound), 2);
  EXPECT_EQ(exit_status(ErrorCode::kUnsupported), 2);
  EXPECT_EQ(exit_status(ErrorCode::kIo), 1);
  EXPECT_EQ(exit_status(ErrorCode::kInternal), 1);
}

TEST(Span, Rounding) {
  EXPECT_EQ(round_up(0, 7), 0);
  EXPECT_EQ(round_up(8, 7), 14);
  EXPECT_EQ(ceil_div(8, 7), 2);
  EXPECT_EQ(ceil_div(7, 7), 1);
}

}  // namespace
}  // namespace hadal
