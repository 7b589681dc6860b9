// How fast each kernel runs on this machine, next to what the machine can do at most.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace hadal {

struct BenchRow {
  std::string
      name;  // fp4_matvec, fp8_matvec, bf16_matvec, fp4_batch8, fp8_batch8, fp4_gemm48, attention, indexer, topk
  std::string isa;
  int threads = 1;
  double rate = 0;   // of all threads together
  std::string unit;  // GB/s of weights or scores, GFLOP/s or GOP/s
  double limit = 0;  // in the same unit: a plain read of the same bytes, or the instruction's peak, in the same run
  double share = 0;  // rate / limit
};

// Every kernel of every set (of the one HADAL_ISA names, if set), about 10 s in all. Rates use each thread's CPU time.
// `each` sees a row when it is done and stops the run by returning false. Empty when the memory for it (130 MB a
// thread, at most about 4 GiB) cannot be had.
std::vector<BenchRow> bench_kernels(int threads, const std::function<bool(const BenchRow&)>& each);

}  // namespace hadal
