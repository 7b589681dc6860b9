// What a model will do on this machine: where its weights go, how long a context fits, and how fast it runs.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "machine/disk_probe.h"
#include "plan/plan.h"
#include "weights/expert_room.h"

namespace hadal {

struct SpeedPoint {
  std::int64_t depth = 0;  // tokens of context before the token or the piece of a prompt
  double decode_tokens_per_second = 0, prefill_tokens_per_second = 0;
};

struct SpeedOptions {
  int threads = 0;                       // 0: every usable core
  std::vector<std::int64_t> depths;      // empty: 0, 8K, 128K and 1M, as far as the model goes
  double seconds = 6;                    // of measuring in all, roughly; slow machines take what four tokens take
  std::function<bool(double)> progress;  // share done; false stops
};

struct SpeedEstimate {
  int threads = 1;
  std::int64_t timed_layers = 0;  // of the model's, with made-up weights
  std::int64_t timed_bytes = 0;   // memory that took
  std::vector<SpeedPoint> points;
};

// With every weight in memory, which the model need not have here. Errors: kNoMemory where even a few layers do not
// fit, kCancelled.
Result<SpeedEstimate> estimate_speed(const ModelConfig& config, const TensorTable& table, const DTypeOf& dtype_of,
                                     std::int64_t available_bytes, const SpeedOptions& options);

enum class Placement {
  kResident,       // every weight in memory
  kExpertsOnDisk,  // routed experts come from disk when a token needs them, some stay in memory
  kNone,           // not even the rest fits
};

// Speeds when this share of the routed experts that tokens ask for is in memory already.
struct HitRate {
  double hits = 0;
  double decode_tokens_per_second = 0;
};

struct PlacementPlan {
  Placement placement = Placement::kNone;
  std::string why;               // a sentence, for kNone
  std::int64_t dense_bytes = 0;  // weights that every token reads; packed, in memory
  std::int64_t experts = 0, experts_in_memory = 0;
  std::int64_t expert_bytes = 0;         // one routed expert, packed
  std::int64_t expert_memory_bytes = 0;  // for kExpertsOnDisk, buffers included
  std::int64_t longest_context = 0;      // that fits beside the weights; 0 for kNone
  // kExpertsOnDisk with a measured disk: from what even routing gives (the share in memory) to 90 %, at the plan's
  // context or the deepest depth measured below it.
  std::vector<HitRate> hit_rates;
  double prefill_tokens_per_second = 0;  // a piece of a prompt reads nearly every expert once
};
// By the functions that loading places experts with (cache/working_memory.h, weights/expert_room.h), so that the plan
// is what happens. `expert_memory_bytes`: a size or one of ExpertPlacement's two words.
PlacementPlan place(const ModelPlan& plan, const MachineLimits& machine, const std::optional<SpeedEstimate>& speed,
                    double disk_bytes_per_second, std::int64_t expert_memory_bytes = ExpertPlacement::kAuto);

// Seconds to read a prompt of `tokens`: the estimate's depths joined by straight lines in seconds per token. 0 without
// points.
double prompt_seconds(const SpeedEstimate& speed, std::int64_t tokens);

}  // namespace hadal
