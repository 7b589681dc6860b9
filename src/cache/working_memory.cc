#include "cache/working_memory.h"

#include <algorithm>

#include "cache/page.h"
#include "machine/cores.h"

namespace hadal {

ExpertPlacement place_experts(const ModelConfig& c, const ModelOptions& options, std::int64_t context,
                              std::int64_t expert_memory) {
  const RowFormat format = row_format(c, options.numerics);
  const std::int64_t threads = options.threads > 0 ? options.threads : available_cores();
  const std::int64_t step = std::min(context, preferred_step(c));
  // The program, its tokenizer, stacks, logits, and the pages of the embedding that are in use.
  constexpr std::int64_t kMargin = std::int64_t{192} << 20;
  ExpertPlacement p;
  p.memory_bytes = expert_memory;
  p.keep_free_bytes = step_footprint(c, options.numerics, format, {step, context, threads}) +
                      CacheLayout::make(c, format).sequence_bytes(context) + kMargin;
  p.keep_free_share = kLongStepShare;
  return p;
}

}  // namespace hadal
