#include "machine/probe.h"

#include <gtest/gtest.h>

#include "machine/cores.h"
#include "machine/peaks.h"

namespace hadal {
namespace {

TEST(Probe, MachineInfoIsPlausible) {
  const MachineInfo m = machine_info();
  EXPECT_FALSE(m.model_name.empty());
  EXPECT_EQ(m.cores, available_cores());
  EXPECT_FALSE(m.isa.empty());
  EXPECT_GT(m.memory_total_bytes, std::int64_t{64} << 20);
  EXPECT_GT(m.memory_available_bytes, 0);
  EXPECT_LE(m.memory_available_bytes, m.memory_total_bytes);
}

TEST(Probe, BandwidthIsMeasuredOnceAndPlausible) {
  const double first = measured_read_bandwidth(1);
  EXPECT_GT(first, 2e8);
  EXPECT_LT(first, 2e12);
  const double begin = thread_cpu_seconds();
  EXPECT_EQ(measured_read_bandwidth(1), first);
  EXPECT_LT(thread_cpu_seconds() - begin, 0.001);
}

TEST(Probe, ScalarPeakIsPlausible) {
  const double peak = measured_peak("scalar", PeakKind::kBf16);
  EXPECT_GT(peak, 1e8);
  EXPECT_LT(peak, 1e11);
}

}  // namespace
}  // namespace hadal
