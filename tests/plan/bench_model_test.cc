#include "plan/bench_model.h"

#include <gtest/gtest.h>

#include "cache/sequence.h"

namespace hadal {
namespace {

std::shared_ptr<const Checkpoint> nano() {
  auto checkpoint = Checkpoint::open(std::string(HADAL_SOURCE_DIR) + "/nano/weights");
  return checkpoint ? *checkpoint : nullptr;
}

TEST(BenchModel, MeasuresEveryRowItWasAskedFor) {
  ASSERT_TRUE(nano());
  ModelBenchOptions options;
  options.threads = 1;
  options.seconds = 0.01;
  options.depths = {2048, 5000};
  options.load = options.restore = true;
  std::vector<ModelBenchRow> rows;
  options.row = [&](const ModelBenchRow& r) {
    rows.push_back(r);
    return true;
  };
  Status done = bench_model(nano(), options);
  ASSERT_TRUE(done) << done.error().what;
  std::vector<std::string> names;
  for (const ModelBenchRow& r : rows) {
    names.push_back(r.name);
    EXPECT_GT(r.rate, 0) << r.name;
    EXPECT_GT(r.limit, 0) << r.name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"load", "decode", "prefill", "restore", "decode", "prefill", "restore"}));
  EXPECT_GT(rows[4].cache_bytes, rows[1].cache_bytes);
}

TEST(BenchModel, SessionsAreForkedFoundAndAnsweredTogether) {
  ModelBenchOptions options;
  options.threads = 1;
  options.seconds = 0.01;
  options.depths = {2048};
  options.decode = options.prefill = false;
  options.sessions = true;
  std::vector<std::string> names;
  options.row = [&](const ModelBenchRow& r) {
    names.push_back(r.name);
    EXPECT_GT(r.rate, 0) << r.name;
    EXPECT_GT(r.limit, 0) << r.name;
    return true;
  };
  const Status done = bench_model(nano(), options);
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(names, (std::vector<std::string>{"fork", "warm", "decode_16"}));
}

TEST(BenchModel, StopsWhenToldTo) {
  ModelBenchOptions options;
  options.threads = 1;
  options.seconds = 0.01;
  options.row = [](const ModelBenchRow&) { return false; };
  Status done = bench_model(nano(), options);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCancelled);
}

// A stretched context of whole pages has the memory of one that was fed, and goes on.
TEST(Stretch, MakesADeepContextOfItsOwnPages) {
  auto weights = load_weights(nano());
  ASSERT_TRUE(weights);
  auto model = Model::create(std::move(*weights), {});
  ASSERT_TRUE(model);
  auto sequence = Sequence::create(*model);
  ASSERT_TRUE(sequence);
  const std::int64_t page = sequence->layout().page_tokens;
  const std::vector<TokenId> ids(static_cast<std::size_t>(page), TokenId{70});
  EXPECT_FALSE(sequence->stretch(page));  // nothing to copy yet
  ASSERT_TRUE(sequence->feed(ids));
  EXPECT_FALSE(sequence->stretch(page + 1));
  ASSERT_TRUE(sequence->stretch(8 * page));
  EXPECT_EQ(sequence->length(), 8 * page);
  EXPECT_EQ(sequence->tokens().size(), static_cast<std::size_t>(8 * page));
  EXPECT_TRUE(sequence->feed(std::span(ids).first(3)));
  EXPECT_FALSE(sequence->stretch(16 * page));  // no longer whole pages
}

}  // namespace
}  // namespace hadal
