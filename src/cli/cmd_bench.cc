#include <fmt/core.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/options.h"
#include "cli/report.h"
#include "kernels/bench.h"
#include "kernels/kernels.h"
#include "machine/cores.h"
#include "machine/probe.h"

namespace hadal::cli {
namespace {

double rounded(double x, double step) { return std::round(x / step) * step; }

}  // namespace

int run_bench_kernels(const BenchOptions& options) {
  const MachineInfo machine = machine_info();
  const int threads = options.threads > 0 ? options.threads : machine.cores;
  if (!options.json) {
    fmt::print("{}; {} thread{}, CPU time\n", machine_text(machine), threads, threads == 1 ? "" : "s");
    fmt::print("kernel sets: {}\n", kernel_sets_text());
    fmt::print("{:<12} {:<7} {:>10} {:>10}  {:<8} {:>6}\n", "kernel", "set", "rate", "limit", "unit", "share");
  }
  auto rows = bench_kernels(threads, [&](const BenchRow& r) {
    if (!options.json)
      fmt::print("{:<12} {:<7} {:>10.2f} {:>10.2f}  {:<8} {:>6.3f}\n", r.name, r.isa, r.rate, r.limit, r.unit, r.share);
    std::fflush(stdout);
    return !interrupted();
  });
  if (interrupted()) return report({ErrorCode::kCancelled, "stopped before all kernels were measured"});
  if (rows.empty())
    return report({ErrorCode::kNoMemory, fmt::format("no memory for the benchmark's buffers; {} threads need {} MB",
                                                     threads, threads * 140)});
  if (options.json) {
    nlohmann::ordered_json out = {{"machine", nlohmann::ordered_json::parse(machine_json(machine))},
                                  {"rows", nlohmann::ordered_json::array()}};
    for (const BenchRow& r : rows)
      out["rows"].push_back({{"name", r.name},
                             {"isa", r.isa},
                             {"threads", r.threads},
                             {"rate", rounded(r.rate, 1e-4)},
                             {"unit", r.unit},
                             {"limit", rounded(r.limit, 1e-4)},
                             {"share", rounded(r.share, 1e-4)}});
    fmt::print("{}\n", out.dump(2));
  }
  return 0;
}

}  // namespace hadal::cli
