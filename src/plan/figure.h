// The report's figure 1 (right), for any model and for this machine: work and cache of one sequence against its length.
#pragma once

#include <string>
#include <vector>

#include "plan/bench_model.h"
#include "plan/plot.h"
#include "weights/config.h"

namespace hadal {

struct AccountedModel {
  std::string name;
  ModelConfig config;
};

// FLOPs of one decoded token and cache bytes from 8K tokens to the longest context of any of the models, beside V3.2
// and GQA-8. At most two models: four lines of a panel can be told apart.
Plot accounting_figure(const std::vector<AccountedModel>& models);

// The same for one model with what was measured: a panel of decoding and prefill rates, and the bytes of the measured
// sequences. `rows` are bench_model's; `machine` goes into the subtitle. Without decode rows the panel of rates lacks
// that line.
Plot depth_figure(const AccountedModel& model, const std::vector<ModelBenchRow>& rows, const std::string& machine);

}  // namespace hadal
