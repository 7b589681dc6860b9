#include <gtest/gtest.h>

#include <set>

#include "kernels/bench.h"
#include "kernels/kernels.h"

namespace hadal {
namespace {

// Every named row for every set, with a rate and a share of the limit that can be true.
TEST(KernelBench, RowsAreComplete) {
  std::set<std::string> seen;
  int calls = 0;
  const auto rows = bench_kernels(1, [&](const BenchRow&) { return ++calls > 0; });
  EXPECT_EQ(static_cast<int>(rows.size()), calls);
  for (const BenchRow& r : rows) {
    seen.insert(r.isa + " " + r.name);
    EXPECT_GT(r.rate, 0) << r.name;
    EXPECT_GT(r.limit, 0) << r.name;
    EXPECT_DOUBLE_EQ(r.share, r.rate / r.limit) << r.name;
    EXPECT_LT(r.share, 1.5) << r.isa << " " << r.name;  // above 1 only by noise between the two measurements
    EXPECT_EQ(r.threads, 1);
  }
  const KernelTables sets = available_kernels();
  for (int i = 0; i < sets.count; ++i)
    for (const char* name : {"fp4_matvec", "fp8_matvec", "bf16_matvec", "fp4_batch8", "fp8_batch8", "fp4_gemm48",
                             "attention", "indexer", "topk"})
      EXPECT_EQ(seen.count(std::string(sets.list[i]->name) + " " + name), 1u) << sets.list[i]->name << " " << name;
}

TEST(KernelBench, StopsWhenAsked) {
  const auto rows = bench_kernels(1, [](const BenchRow&) { return false; });
  EXPECT_EQ(rows.size(), 1u);
}

}  // namespace
}  // namespace hadal
