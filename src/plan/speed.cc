#include "plan/speed.h"

#include <algorithm>
#include <cmath>

#include "base/span.h"
#include "cache/working_memory.h"
#include "layers/footprint.h"
#include "machine/cores.h"
#include "plan/layer_trial.h"

namespace hadal {
namespace {

const SpeedPoint* point_at(const SpeedEstimate& speed, std::int64_t depth) {
  const SpeedPoint* best = nullptr;
  for (const SpeedPoint& p : speed.points)
    if (!best || (p.depth <= depth && p.depth > best->depth)) best = &p;
  return best;
}

// The longest context for which `fits` holds, a whole number of pages or the model's longest.
template <class F>
std::int64_t longest(const ModelConfig& config, std::int64_t page, F&& fits) {
  if (fits(config.max_position_embeddings)) return config.max_position_embeddings;
  std::int64_t low = 0, high = config.max_position_embeddings / page;  // in pages: low fits, high does not
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (fits(middle * page) ? low : high) = middle;
  }
  return low * page;
}

}  // namespace

Result<SpeedEstimate> estimate_speed(const ModelConfig& config, const TensorTable& table, const DTypeOf& dtype_of,
                                     std::int64_t available_bytes, const SpeedOptions& options) {
  SpeedEstimate out;
  out.threads = options.threads > 0 ? options.threads : available_cores();
  std::vector<std::int64_t> depths = options.depths;
  if (depths.empty()) depths = {0, 8192, 131072, 1048576};
  // A last step still has to fit behind the deepest.
  const std::int64_t most = config.max_position_embeddings - preferred_step(config);
  std::vector<std::int64_t> kept;
  for (std::int64_t d : depths)
    if (d <= config.max_position_embeddings)
      kept.push_back(std::clamp<std::int64_t>(d, 0, std::max<std::int64_t>(most, 0)));
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  if (kept.empty()) kept = {0};

  const auto goes_on = [&](double share) { return !options.progress || options.progress(share); };
  const auto stopped = [] { return fail(ErrorCode::kCancelled, "stopped before the model's speed was measured"); };
  if (!goes_on(0)) return stopped();
  auto trial = HADAL_TRY(LayerTrial::create(config, table, dtype_of, out.threads, kept.back(), available_bytes / 2));
  out.timed_layers = trial->layer_count();
  out.timed_bytes = trial->bytes();
  const double share = options.seconds / static_cast<double>(2 * kept.size());
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const double done = static_cast<double>(i) / static_cast<double>(kept.size());
    if (!goes_on(done)) return stopped();
    SpeedPoint p{kept[i]};
    p.decode_tokens_per_second = 1 / trial->decode_seconds(p.depth, share);
    if (!goes_on(done + 0.5 / static_cast<double>(kept.size()))) return stopped();
    p.prefill_tokens_per_second = 1 / trial->prefill_seconds(p.depth, share);
    out.points.push_back(p);
  }
  goes_on(1);
  return out;
}

double prompt_seconds(const SpeedEstimate& speed, std::int64_t tokens) {
  double sum = 0;
  for (std::size_t i = 0; i < speed.points.size(); ++i) {
    const SpeedPoint& a = speed.points[i];
    if (a.depth >= tokens) break;
    const bool last = i + 1 == speed.points.size();
    const SpeedPoint& b = last ? a : speed.points[i + 1];
    const double from = 1 / a.prefill_tokens_per_second, to = 1 / b.prefill_tokens_per_second;
    const double end = last ? static_cast<double>(tokens) : static_cast<double>(std::min(tokens, b.depth));
    const double length = end - static_cast<double>(a.depth);
    const double whole = last ? length : static_cast<double>(b.depth - a.depth);
    const double at_end = from + (to - from) * (whole > 0 ? length / whole : 0);
    sum += length * (from + at_end) / 2;
  }
  return sum;
}

PlacementPlan place(const ModelPlan& plan, const MachineLimits& machine, const std::optional<SpeedEstimate>& speed,
                    double disk_bytes_per_second, std::int64_t expert_memory_bytes) {
  PlacementPlan out;
  const EngineMemory& e = *plan.engine;
  const ModelConfig& c = *plan.config;
  ModelOptions options;
  options.threads = std::max(1, machine.info.cores);
  const std::int64_t available = machine.info.memory_available_bytes;
  out.experts = e.streamable_experts;
  out.expert_bytes = e.streamable_experts > 0 ? e.streamable_bytes / e.streamable_experts : 0;
  out.dense_bytes = e.weights_bytes - e.streamable_bytes;
  const ExpertSizes sizes{out.dense_bytes, e.streamable_bytes, e.streamable_experts, c.num_experts_per_tok};
  // Loading decides by the same two functions; what it then refuses for want of a place for one token is refused here.
  const std::int64_t staging = round_up(out.expert_bytes, AsyncReader::kAlign) + 2 * AsyncReader::kAlign;
  const auto memory_at = [&](std::int64_t tokens) -> Result<std::int64_t> {
    const std::int64_t memory =
        HADAL_TRY(expert_memory(sizes, place_experts(c, options, tokens, expert_memory_bytes), available));
    if (memory > 0 && expert_slots(memory, out.expert_bytes, staging, out.experts).slots < c.num_experts_per_tok)
      return fail(ErrorCode::kNoMemory,
                  "{:.2f} GB for experts do not hold the {} of one token, {:.1f} GB are available",
                  1e-9 * static_cast<double>(memory), c.num_experts_per_tok, 1e-9 * static_cast<double>(available));
    return memory;
  };
  // A session of that length beside weights and expert memory. Sessions may be longer than what loading was told of.
  const auto beside = [&](std::int64_t memory, std::int64_t tokens) {
    const std::int64_t weights = out.dense_bytes + (memory == 0 ? e.streamable_bytes : memory);
    return weights + e.session_bytes(tokens) + e.step_bytes(tokens, options.threads) + machine.program_bytes +
               tokens * std::int64_t{sizeof(TokenId)} <=
           available;
  };
  const auto memory = memory_at(plan.context);
  if (!memory) {
    out.why = memory.error().what;
    return out;
  }
  out.placement = *memory == 0 ? Placement::kResident : Placement::kExpertsOnDisk;
  const std::int64_t page = std::max<std::int64_t>(e.layout.page_tokens, 1);
  // With the experts where they are at the plan's context: a longer one may push some of them to disk.
  out.longest_context = longest(c, page, [&](std::int64_t n) {
    const auto m = memory_at(n);
    return m && (*m == 0) == (*memory == 0) && beside(*m, n);
  });
  out.expert_memory_bytes = *memory;
  out.experts_in_memory =
      *memory == 0 ? out.experts : expert_slots(*memory, out.expert_bytes, staging, out.experts).slots;
  if (*memory == 0) return out;
  const SpeedPoint* at = speed ? point_at(*speed, plan.context) : nullptr;
  if (!at || disk_bytes_per_second <= 0) return out;

  const double held = static_cast<double>(out.experts_in_memory) / static_cast<double>(out.experts);
  const auto decode = [&](double hits) {
    return 1 /
           (1 / at->decode_tokens_per_second + (1 - hits) * plan.weights->active_routed_bytes / disk_bytes_per_second);
  };
  out.hit_rates.push_back({held, decode(held)});
  for (double hits : {0.25, 0.5, 0.75, 0.9})
    if (hits > held) out.hit_rates.push_back({hits, decode(hits)});
  // Of a piece's tokens each picks k of E experts: this share of them is read.
  const auto piece = static_cast<double>(std::max(preferred_step(c), preferred_step(c, *memory)));
  const double touched =
      1 - std::pow(1 - static_cast<double>(c.num_experts_per_tok) / static_cast<double>(c.n_routed_experts), piece);
  const double reads = static_cast<double>(plan.weights->routed_bytes) * touched * (1 - held) / disk_bytes_per_second;
  out.prefill_tokens_per_second = piece / (piece / at->prefill_tokens_per_second + reads);
  return out;
}

}  // namespace hadal
