// Everything `hadal plan` says about one model at one context, and about running it on one machine.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "machine/probe.h"
#include "plan/accounting.h"
#include "plan/engine_memory.h"
#include "plan/weight_count.h"
#include "weights/checkpoint.h"

namespace hadal {

struct CacheLine {
  std::string counting;
  double bytes_per_token = 0;  // growth, in the limit
  std::int64_t bytes = 0;      // growing part and windows at the context
  double of_v32 = 0;           // shares of what V3.2 (bfloat16 against bfloat16) and GQA-8 of equal depth would hold
  double of_gqa8 = 0;
};

struct LayerCounts {
  std::int64_t swa = 0, csa = 0, hca = 0, mtp = 0;
};

struct ModelPlan {
  std::string name;
  std::int64_t context = 0;
  std::vector<CacheLine> cache;  // the first line is how hadal stores it
  std::optional<FlopCount> flops;
  double fp8_equivalent_flops = 0;
  double flops_of_v32 = 0;      // FP8-equivalent operations
  double raw_flops_of_v32 = 0;  // every operation counting 1

  // Only for models that hadal runs.
  std::optional<ModelConfig> config;
  LayerCounts layers;
  std::int64_t window_bytes = 0;
  std::int64_t open_window_bytes = 0;
  std::optional<WeightCount> weights;
  CacheReads reads;
  std::optional<EngineMemory> engine;
};

// The names plan_published knows: flash, flash-base, pro, pro-base, v3.2, gqa8.
const std::vector<std::string>& published_models();

// Errors: an unknown name; a context below 1 or beyond what the model was made for.
Result<ModelPlan> plan_published(const std::string& name, std::int64_t context);
Result<ModelPlan> plan_checkpoint(const std::string& name, const Checkpoint& checkpoint, std::int64_t context);

// What the machine can do at most. Rates are of all usable cores together; 0: not measured.
struct MachineLimits {
  MachineInfo info;
  std::int64_t program_bytes = 0;  // hadal itself: code, libraries, tokenizer
  double read_bytes_per_second = 0;
  double bf16_ops_per_second = 0;
  double int8_ops_per_second = 0;
  double f32_ops_per_second = 0;
  double round_trip_seconds = 0;  // all threads begin and end one empty job: what every step of a layer costs at least
};
// About a third of a second. 0 threads: all usable cores.
MachineLimits measure_machine(int threads = 0);

struct Fit {
  bool weights_fit = false;
  std::int64_t sessions = 0;      // at the context, beside the weights
  std::int64_t step_bytes = 0;    // working memory of a prefill step at the context
  std::int64_t needed_bytes = 0;  // weights, one session and its prompt, a step, the program itself
  // One sequence at the context, tokens per second: the smaller of what memory and arithmetic allow. Limits, not
  // forecasts; 0 unknown.
  double memory_limit = 0, arithmetic_limit = 0;
  double decode_limit() const { return memory_limit < arithmetic_limit ? memory_limit : arithmetic_limit; }
};
Fit fit(const ModelPlan& plan, const MachineLimits& machine);  // plan.engine must be there

}  // namespace hadal
