// What some threads of this machine reach together, measured again and again between pieces of other work: a shared
// machine changes from second to second, and a share of a limit means something only when both saw the same seconds.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "machine/probe.h"

namespace hadal {

struct MachineRates {
  double read_bytes_per_second = 0;  // from memory outside the caches
  double int8_ops_per_second = 0, bf16_ops_per_second = 0;
};

class MachineMeter {
 public:
  // `isa` is a kernel set's name. Takes three times the last cache as memory, 2 GiB at most.
  MachineMeter(int threads, std::string isa);

  bool ready() const { return !buffers_.empty(); }  // false: memory was refused, and round() does nothing

  // One round of all threads: a read by the wall clock, then each instruction's rate by CPU time. About 10 ms for the
  // read and 50 ms for the peaks.
  void round();

  void clear();  // forgets the rounds so far

  // Of the rounds since; zeros before the first.
  MachineRates median() const;

 private:
  int threads_;
  std::string isa_;
  std::int64_t bytes_ = 0;  // a thread's buffer
  std::vector<std::unique_ptr<HugeBuffer>> buffers_;
  std::vector<double> reads_, int8_, bf16_;
};

}  // namespace hadal
