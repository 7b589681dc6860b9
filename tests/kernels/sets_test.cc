// Every instruction set this machine runs gives the bits of the scalar definition, over random shapes and values.
#include <gtest/gtest.h>

#include "kernels/compare_sets.h"

namespace hadal::testing {
namespace {

using Compare = std::string (*)(const KernelTable&, const KernelTable&, Random&);

void same_bits(Compare compare, int cases) {
  const KernelTables sets = available_kernels();
  if (sets.count == 1) GTEST_SKIP() << "this machine runs the scalar set only";
  for (int i = 1; i < sets.count; ++i)
    for (int seed = 0; seed < cases; ++seed) {
      Random random(static_cast<std::uint64_t>(seed));
      std::string bad = compare(*sets.list[0], *sets.list[i], random);
      ASSERT_EQ(bad, "") << "scalar against " << sets.list[i]->name << ", seed " << seed;
    }
}

TEST(Sets, Products) { same_bits(compare_products, 150); }
TEST(Sets, Elementwise) { same_bits(compare_elementwise, 300); }
TEST(Sets, HyperConnection) { same_bits(compare_hyper_connection, 200); }
TEST(Sets, Rows) { same_bits(compare_rows, 400); }
TEST(Sets, Attention) { same_bits(compare_attention, 60); }
TEST(Sets, Indexer) { same_bits(compare_indexer, 60); }
TEST(Sets, TopK) { same_bits(compare_top_k, 200); }

}  // namespace
}  // namespace hadal::testing
