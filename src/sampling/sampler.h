// Logits to one token. A pure function of (logits, options, draw): the same inputs give the same token on every
// machine, in every batch, on every thread.
//
// Order of operations, in double precision over ascending ids:
//   1. forbidden ids are removed
//   2. temperature 0: the largest logit, lowest id on ties. Otherwise p = softmax(logit / temperature)
//   3. top-k: the k most likely, lowest ids on ties
//   4. top-p: of these, renormalised, the fewest most likely whose sum reaches top_p (the one that crosses included)
//   5. min-p: of these, those with p >= min_p * p of the most likely
//   6. one draw from what is left, renormalised, cumulated over ascending ids
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "sampling/philox.h"

namespace hadal {

struct IdRange {
  std::int32_t begin = 0, end = 0;  // half open
};

struct SamplingOptions {
  double temperature = 1.0;  // 0: greedy; else 1e-6 to 100
  double top_p = 1.0;        // (0, 1]; 1: off
  std::int64_t top_k = 0;    // 0: off
  double min_p = 0.0;        // [0, 1]; 0: off
  std::uint64_t seed = 0;
  std::vector<TokenId> stop_ids = {};   // generation ends after one of these was sampled
  std::vector<IdRange> forbidden = {};  // never sampled: ids the tokenizer leaves unused, say
};

// Names the first field out of range.
Status check_sampling(const SamplingOptions& options);

bool is_stop(const SamplingOptions& options, TokenId id);

struct Sampled {
  TokenId id{};
  double logprob = 0;      // under the distribution the token was drawn from (steps 1 to 5); 0 when greedy
  double raw_logprob = 0;  // under softmax of the logits as they came: temperature 1, nothing removed
  std::int64_t kept = 0;   // tokens that could have been drawn
};

// Keeps its buffers between calls; has no other state. One per thread.
class Sampler {
 public:
  // Options must have passed check_sampling. An error names a logit that is not a number or +infinity, or says that
  // every id is forbidden. A logit of -infinity is never sampled.
  Result<Sampled> sample(std::span<const float> logits, const SamplingOptions& options, const Draw& draw);

 private:
  std::vector<double> weight_;       // [vocab] exp((logit - max) / temperature); 0 when removed
  std::vector<std::int32_t> order_;  // ids, most likely first as far as it was needed
};

// The `n` most likely tokens by raw_logprob, most likely first, lower ids first on ties; `logprob` repeats it, `kept`
// is n. Same errors as sample().
Result<std::vector<Sampled>> most_likely(std::span<const float> logits, std::int64_t n);

// log softmax(logits)[id] in the sampler's own arithmetic, so that scoring a token gives exactly the raw_logprob of its
// sampling. Same errors as sample(); an id outside the logits is kUsage.
Result<double> raw_logprob(std::span<const float> logits, TokenId id);

}  // namespace hadal
