// The release generation_config.json: how its makers meant the model to be sampled.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "sampling/sampler.h"

namespace hadal {

// Defaults of the model card where the file is silent: sampling on, temperature 1, top_p 1.
struct GenerationConfig {
  bool do_sample = true;
  double temperature = 1.0;
  double top_p = 1.0;
  std::int64_t top_k = 0;
  double min_p = 0.0;
  std::vector<TokenId> eos_token_ids;  // empty: the file names none, take config.json's

  // do_sample false is temperature 0.
  SamplingOptions sampling() const;
};

// Reads and checks the file's text. `where` names the file in errors; a bad value is named with what it may be. Keys
// that change the output and that hadal does not run (repetition_penalty other than 1, num_beams other than 1, ...) are
// refused by name; bookkeeping keys are ignored.
Result<GenerationConfig> parse_generation_config(std::string_view json, const std::string& where);

}  // namespace hadal
