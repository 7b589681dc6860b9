// What every layer knows about the step it takes part in: `count` tokens, of one sequence or of several.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"
#include "kernels/kernels.h"
#include "layers/workspace.h"
#include "machine/thread_pool.h"
#include "weights/config.h"

namespace hadal {

// Arithmetic of the float32 engine (design: --numerics). The double-precision definition is model/reference_model.h.
struct Numerics {
  bool fast = true;           // trained: int8/bf16 activations, packed cache rows; otherwise exact: float32 throughout
  bool round_cache = true;    // FP8 attention rows, Hadamard + FP4 index keys and queries (spec 7.3, regime kvq)
  bool round_inputs = false;  // FP8 per 128 on inputs of FP8/FP4 products except wo_a (regime full)
};

struct Step {
  const ModelConfig& config;
  const KernelTable& kernels;
  ThreadPool& pool;
  Workspace& workspace;
  Numerics numerics;
  std::span<const TokenId> ids;  // [count]

  std::int64_t count() const { return static_cast<std::int64_t>(ids.size()); }

  // Runs fn(index, worker) for index in [0, n): on this thread when the work (in multiply-adds, roughly) would not pay
  // for waking the pool, else on all threads. Results must not depend on which.
  template <class F>
  void parallel(std::int64_t n, std::int64_t work, F&& fn) const {
    constexpr std::int64_t kWorthWaking = 1 << 16;  // about 5 us of scalar-ish work: the price of two barrier crossings
    if (n <= 1 || work < kWorthWaking || pool.size() == 1) {
      for (std::int64_t i = 0; i < n; ++i) fn(i, 0);
    } else {
      pool.for_each(n, fn);
    }
  }
};

// Consecutive tokens of one sequence, the first at position `start`: what layers with a memory of the past work on.
struct SequenceStep : Step {
  Position start = 0;
};

}  // namespace hadal
