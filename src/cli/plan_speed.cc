#include "cli/plan_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/numbers.h"
#include "cli/report.h"

namespace hadal::cli {
namespace {

double disk_rate(const PlanSpeed& s) {
  double best = 0;
  for (const DiskRate& d : s.disk) best = std::max(best, d.bytes_per_second);
  return best;
}

// Shards that hold routed experts would be the exact choice; every shard of a release but one or two does.
std::vector<std::string> shard_paths(const Checkpoint& checkpoint) {
  std::vector<std::string> paths;
  for (const auto& shard : checkpoint.shards()) paths.push_back(checkpoint.directory() + "/" + shard.file);
  return paths;
}

bool named(const ModelPlan& plan) {
  const auto& names = published_models();
  return std::find(names.begin(), names.end(), plan.name) != names.end();
}

std::string command_for(const ModelPlan& plan, const PlacementPlan& placement, std::int64_t expert_memory) {
  if (placement.placement == Placement::kNone) return "";
  std::string out = "hadal run";
  if (plan.name != "nano") out += named(plan) ? " --model DIRECTORY" : " --model " + plan.name;
  if (expert_memory == kExpertsAll) out += " --expert-memory all";
  if (expert_memory >= 0 && expert_memory != kExpertsAll) out += fmt::format(" --expert-memory {}", expert_memory);
  const std::int64_t longest = std::min(placement.longest_context, plan.config->max_position_embeddings);
  if (longest < plan.config->max_position_embeddings) out += fmt::format(" --context {}", longest);
  return out;
}

const char* placement_name(Placement p) {
  return p == Placement::kResident ? "resident" : p == Placement::kExpertsOnDisk ? "experts on disk" : "none";
}

}  // namespace

Result<PlanSpeed> measure_plan_speed(const ModelPlan& plan, const Checkpoint* checkpoint, const MachineLimits& machine,
                                     const PlanOptions& options) {
  PlanSpeed out;
  out.context = plan.context;
  out.sessions = fit(plan, machine).sessions;
  if (options.quick) {
    out.no_estimate = out.no_disk = "not measured (--quick)";
  } else {
    Progress progress("timing layers", "%", 100);
    SpeedOptions speed;
    speed.threads = options.threads;
    speed.progress = [&](double share) {
      progress.update(static_cast<std::int64_t>(100 * share));
      return !interrupted();
    };
    const TensorTable table(*plan.config);
    const DTypeOf dtypes =
        checkpoint ? stored_dtypes(*checkpoint)
                   : release_dtypes(plan.name.ends_with("-base") ? ReleaseKind::kBase : ReleaseKind::kRelease);
    auto estimate = estimate_speed(*plan.config, table, dtypes, machine.info.memory_available_bytes, speed);
    progress.finish();
    if (estimate)
      out.estimate = std::move(*estimate);
    else if (estimate.error().code == ErrorCode::kCancelled)
      return std::unexpected(estimate.error());
    else
      out.no_estimate = estimate.error().what;
    if (!checkpoint || plan.name == "nano") {
      out.no_disk = "no shards to read; --model DIRECTORY measures its disk";
    } else {
      constexpr double kSeconds = 1;  // for each size of piece
      auto disk = probe_disk(shard_paths(*checkpoint), kSeconds, [] { return !interrupted(); });
      if (disk)
        out.disk = std::move(*disk);
      else if (disk.error().code == ErrorCode::kCancelled)
        return std::unexpected(disk.error());
      else
        out.no_disk = disk.error().what;
    }
  }
  out.placement = place(plan, machine, out.estimate, disk_rate(out), options.expert_memory);
  out.command = command_for(plan, out.placement, options.expert_memory);
  return out;
}

void print_speed(const PlanSpeed& s) {
  const PlacementPlan& p = s.placement;
  if (s.estimate) {
    const SpeedEstimate& e = *s.estimate;
    fmt::print("  speed{}, {} thread{}; {} layer{} timed with made-up weights\n",
               p.placement == Placement::kResident ? "" : " with every weight in memory", e.threads,
               e.threads == 1 ? "" : "s", e.timed_layers, e.timed_layers == 1 ? "" : "s");
    fmt::print("    {:>22}{:>16}{:>16}\n", "after tokens", "decoding", "prompt");
    for (const SpeedPoint& point : e.points)
      fmt::print("    {:>22}{:>16}{:>16}\n", grouped(static_cast<double>(point.depth)),
                 rate(point.decode_tokens_per_second), rate(point.prefill_tokens_per_second));
    fmt::print("    reading a prompt of {} tokens takes about {}\n", grouped(static_cast<double>(s.context)),
               duration(prompt_seconds(e, s.context)));
  } else {
    fmt::print("  speed                     {}\n", s.no_estimate);
  }
  if (!s.disk.empty()) {
    fmt::print("  disk                      ");
    for (std::size_t i = 0; i < s.disk.size(); ++i)
      fmt::print("{}{}/s in pieces of {} MiB", i ? ", " : "", bytes_text(s.disk[i].bytes_per_second),
                 s.disk[i].piece_bytes >> 20);
    fmt::print(", {} at a time, past the page cache\n", s.disk.front().in_flight);
  } else if (p.placement == Placement::kExpertsOnDisk) {
    fmt::print("  disk                      {}\n", s.no_disk);
  }
  switch (p.placement) {
    case Placement::kResident:
      fmt::print("  placement                 every weight in memory; the longest context that fits is {} tokens\n",
                 grouped(static_cast<double>(p.longest_context)));
      break;
    case Placement::kExpertsOnDisk:
      fmt::print(
          "  placement                 {} in memory with {} of {} routed experts ({} each), the others on disk\n",
          bytes_text(p.dense_bytes), grouped(static_cast<double>(p.experts_in_memory)),
          grouped(static_cast<double>(p.experts)), bytes_text(p.expert_bytes));
      for (const HitRate& h : p.hit_rates)
        fmt::print("    decoding                {} when {} of the experts asked for are in memory{}\n",
                   rate(h.decode_tokens_per_second), percent(h.hits),
                   &h == &p.hit_rates.front() ? ", as with even routing" : "");
      if (p.prefill_tokens_per_second > 0)
        fmt::print("    prompt                  {}\n", rate(p.prefill_tokens_per_second));
      break;
    case Placement::kNone:
      fmt::print("  placement                 does not run here: {}\n", p.why);
      break;
  }
  if (!s.command.empty()) fmt::print("  run it with               {}\n", s.command);
}

std::string speed_json(const PlanSpeed& s) {
  using Json = nlohmann::ordered_json;
  const PlacementPlan& p = s.placement;
  Json out;
  if (s.estimate) {
    out["threads"] = s.estimate->threads;
    out["timed_layers"] = s.estimate->timed_layers;
    out["timed_bytes"] = s.estimate->timed_bytes;
    out["points"] = Json::array();
    for (const SpeedPoint& point : s.estimate->points)
      out["points"].push_back({{"depth", point.depth},
                               {"decode_tokens_per_second", point.decode_tokens_per_second},
                               {"prefill_tokens_per_second", point.prefill_tokens_per_second}});
    out["prompt_seconds"] = prompt_seconds(*s.estimate, s.context);
  } else {
    out["points"] = nullptr;
    out["why_not"] = s.no_estimate;
  }
  if (!s.disk.empty()) {
    out["disk"] = Json::array();
    for (const DiskRate& d : s.disk)
      out["disk"].push_back(
          {{"piece_bytes", d.piece_bytes}, {"in_flight", d.in_flight}, {"bytes_per_second", d.bytes_per_second}});
  } else {
    out["disk"] = nullptr;
    out["why_no_disk"] = s.no_disk;
  }
  Json& place = out["placement"];
  place = {{"kind", placement_name(p.placement)},
           {"dense_bytes", p.dense_bytes},
           {"experts", p.experts},
           {"experts_in_memory", p.experts_in_memory},
           {"expert_bytes", p.expert_bytes},
           {"expert_memory_bytes", p.expert_memory_bytes},
           {"longest_context", p.longest_context},
           {"sessions", s.sessions}};
  if (!p.why.empty()) place["why"] = p.why;
  if (!p.hit_rates.empty()) {
    place["hit_rates"] = Json::array();
    for (const HitRate& h : p.hit_rates)
      place["hit_rates"].push_back({{"hits", h.hits}, {"decode_tokens_per_second", h.decode_tokens_per_second}});
    place["prefill_tokens_per_second"] = p.prefill_tokens_per_second;
  }
  out["command"] = s.command.empty() ? Json(nullptr) : Json(s.command);
  return out.dump();
}

}  // namespace hadal::cli
