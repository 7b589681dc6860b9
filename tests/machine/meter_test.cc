#include "machine/meter.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(MachineMeter, MeasuresWhatItsThreadsReach) {
  MachineMeter meter(2, "scalar");
  ASSERT_TRUE(meter.ready());
  EXPECT_EQ(meter.median().read_bytes_per_second, 0);
  meter.round();
  meter.round();
  const MachineRates rates = meter.median();
  EXPECT_GT(rates.read_bytes_per_second, 2e8);
  EXPECT_LT(rates.read_bytes_per_second, 4e12);
  EXPECT_GT(rates.int8_ops_per_second, 1e8);
  EXPECT_LT(rates.bf16_ops_per_second, 2e11);
  meter.clear();
  EXPECT_EQ(meter.median().int8_ops_per_second, 0);
}

// Two threads' scalar arithmetic is twice one thread's: CPU time, so other load does not matter.
TEST(MachineMeter, PeaksAddUpOverThreads) {
  MachineMeter one(1, "scalar"), two(2, "scalar");
  for (int i = 0; i < 3; ++i) one.round(), two.round();
  const double ratio = two.median().bf16_ops_per_second / one.median().bf16_ops_per_second;
  EXPECT_GT(ratio, 1.4);
  EXPECT_LT(ratio, 2.6);
}

}  // namespace
}  // namespace hadal
