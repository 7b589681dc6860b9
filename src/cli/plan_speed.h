// The part of `hadal plan` that measures: how fast a model would run here, where its weights would go, and the command.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "plan/speed.h"

namespace hadal::cli {

struct PlanSpeed {
  std::optional<SpeedEstimate> estimate;
  std::string no_estimate;  // why there is none
  std::vector<DiskRate> disk;
  std::string no_disk;
  PlacementPlan placement;
  std::int64_t context = 0, sessions = 0;
  std::string command;  // empty when there is none to give
};

// With --quick only the placement. Errors: interruption.
Result<PlanSpeed> measure_plan_speed(const ModelPlan& plan, const Checkpoint* checkpoint, const MachineLimits& machine,
                                     const PlanOptions& options);

void print_speed(const PlanSpeed& speed);
std::string speed_json(const PlanSpeed& speed);

}  // namespace hadal::cli
