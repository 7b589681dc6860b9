// What of the sliding windows and open compressor windows goes to disk with a kept prefix (report 3.6). Compressed rows
// always do; the state block is the larger part of a short turn and can be computed again.
#pragma once

#include "cache/page.h"

namespace hadal {

struct WindowPolicy {
  enum class Kind {
    kFull,      // a state block at every kept boundary
    kPeriodic,  // one where the last lies at least `period` tokens before
    kNone,      // none: the last window x layers tokens are fed again
  };
  Kind kind = Kind::kFull;
  Position period = 0;

  bool operator==(const WindowPolicy&) const = default;
};

// The policy with the least time per kept boundary, each being resumed once: writing and reading state blocks against
// feeding tokens again. Rates that are not positive count as unknown and give kFull, which never computes anything
// twice.
WindowPolicy choose_policy(double disk_bytes_per_s, double prefill_tokens_per_s, const CacheLayout& layout,
                           const ModelConfig& config);

}  // namespace hadal
