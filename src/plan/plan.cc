#include "plan/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "kernels/kernels.h"
#include "machine/peaks.h"
#include "machine/thread_pool.h"

namespace hadal {
namespace {

Status check_context(const std::string& name, std::int64_t context, std::int64_t most) {
  if (context >= 1 && context <= most) return {};
  return fail(ErrorCode::kUsage, "a context of {} tokens is not from 1 to {}, the longest that '{}' was made for",
              context, most, name);
}

// Shares of the yardsticks at the plan's context.
CacheLine cache_line(std::string counting, double per_token, std::int64_t bytes, std::int64_t layers, bool bf16,
                     std::int64_t n) {
  const auto held = static_cast<double>(bytes), tokens = static_cast<double>(n);
  return {std::move(counting), per_token, bytes, held / (static_cast<double>(v32_bytes_per_token({}, bf16)) * tokens),
          held / (static_cast<double>(gqa_bytes_per_token({.num_hidden_layers = layers})) * tokens)};
}

void compare_flops(ModelPlan& plan, const FlopWeights& weights) {
  const FlopCount v32 = decode_flops(V32Config{}, plan.context);
  plan.fp8_equivalent_flops = weighted_flops(*plan.flops, weights);
  plan.flops_of_v32 = plan.fp8_equivalent_flops / weighted_flops(v32, kEquivalentV32);
  plan.raw_flops_of_v32 = plan.flops->total() / v32.total();
}

ModelPlan plan_v4(const std::string& name, const ModelConfig& config, const TensorTable& table, WeightCount weights,
                  bool with_mtp, const DTypeOf& dtype_of, std::int64_t n) {
  ModelPlan plan;
  plan.name = name;
  plan.context = n;
  plan.config = config;
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    switch (config.kind(l)) {
      case AttentionKind::kSwa:
        ++plan.layers.swa;
        break;
      case AttentionKind::kCsa:
        ++plan.layers.csa;
        break;
      case AttentionKind::kHca:
        ++plan.layers.hca;
        break;
    }
  }
  plan.layers.mtp = with_mtp ? config.num_nextn_predict_layers : 0;
  for (const CacheCounting& counting : all_countings(config)) {
    plan.cache.push_back(cache_line(std::string(counting.name), cache_bytes_per_token(config, counting),
                                    growing_bytes(config, counting, n) + window_bytes(config, counting),
                                    config.num_hidden_layers, counting.name == bf16_counting(config).name, n));
  }
  const CacheCounting packed = packed_counting(config);
  plan.window_bytes = window_bytes(config, packed);
  plan.open_window_bytes = open_window_bytes(config);
  plan.reads = decode_cache_reads(config, packed, n);
  plan.flops = decode_flops(config, table, n);
  compare_flops(plan, kEquivalentV4);
  plan.weights = std::move(weights);
  plan.engine = engine_memory(config, table, with_mtp, dtype_of);
  return plan;
}

ModelPlan plan_v32(std::int64_t n) {
  ModelPlan plan;
  plan.name = "v3.2";
  plan.context = n;
  for (bool bf16 : {false, true}) {
    const std::int64_t per_token = v32_bytes_per_token({}, bf16);
    plan.cache.push_back(cache_line(bf16 ? "bf16" : "fp8", static_cast<double>(per_token), per_token * n,
                                    V32Config{}.num_hidden_layers, bf16, n));
  }
  plan.flops = decode_flops(V32Config{}, n);
  compare_flops(plan, kEquivalentV32);
  return plan;
}

ModelPlan plan_gqa8(std::int64_t n) {
  ModelPlan plan;
  plan.name = "gqa8";
  plan.context = n;
  const Gqa8Config gqa;
  const std::int64_t per_token = gqa_bytes_per_token(gqa);
  plan.cache.push_back(
      cache_line("bf16", static_cast<double>(per_token), per_token * n, gqa.num_hidden_layers, true, n));
  return plan;
}

}  // namespace

const std::vector<std::string>& published_models() {
  static const std::vector<std::string> names = {"flash", "flash-base", "pro", "pro-base", "v3.2", "gqa8"};
  return names;
}

Result<ModelPlan> plan_published(const std::string& name, std::int64_t context) {
  const auto& names = published_models();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    return fail(ErrorCode::kNotFound, "'{}' is neither a directory nor one of {}", name, fmt::join(names, ", "));
  }
  const bool flash = name.starts_with("flash");
  const ModelConfig config = flash ? flash_config() : pro_config();
  HADAL_CHECK_OK(check_context(name, context, config.max_position_embeddings));
  if (name == "v3.2") return plan_v32(context);
  if (name == "gqa8") return plan_gqa8(context);
  const ReleaseKind kind = name.ends_with("-base") ? ReleaseKind::kBase : ReleaseKind::kRelease;
  const TensorTable table(config);
  return plan_v4(name, config, table, count_release(config, table, kind), true, release_dtypes(kind), context);
}

Result<ModelPlan> plan_checkpoint(const std::string& name, const Checkpoint& checkpoint, std::int64_t context) {
  if (!checkpoint.problems().empty()) return std::unexpected(checkpoint.problems().front());
  HADAL_CHECK_OK(check_context(name, context, checkpoint.config().max_position_embeddings));
  return plan_v4(name, checkpoint.config(), checkpoint.table(), count_stored(checkpoint), checkpoint.has_mtp(),
                 stored_dtypes(checkpoint), context);
}

namespace {

double measured_round_trip(int threads) {
  ThreadPool pool(threads);
  double best = 1;
  constexpr int kJobs = 200;  // several in a row, as in a step: workers stay awake between them
  for (int i = 0; i < 10; ++i) {
    Stopwatch watch;
    for (int j = 0; j < kJobs; ++j) pool.for_each(threads, [](std::int64_t, int) {});
    best = std::min(best, watch.seconds() / kJobs);
  }
  return best;
}

}  // namespace

MachineLimits measure_machine(int threads) {
  MachineLimits limits;
  limits.info = machine_info();
  if (threads <= 0) threads = limits.info.cores;
  limits.program_bytes = resident_bytes();  // before the yardsticks take their buffers
  limits.read_bytes_per_second = measured_read_bandwidth(threads);
  const auto isa = kernels().name;
  limits.bf16_ops_per_second = threads * measured_peak(isa, PeakKind::kBf16);
  limits.int8_ops_per_second = threads * measured_peak(isa, PeakKind::kInt8);
  limits.f32_ops_per_second = threads * measured_peak(isa, PeakKind::kF32);
  limits.round_trip_seconds = measured_round_trip(threads);
  return limits;
}

Fit fit(const ModelPlan& plan, const MachineLimits& machine) {
  Fit f;
  const EngineMemory& engine = *plan.engine;
  const std::int64_t available = machine.info.memory_available_bytes;
  f.step_bytes = engine.step_bytes(plan.context, std::max(1, machine.info.cores));
  const std::int64_t prompt_bytes = plan.context * std::int64_t{sizeof(TokenId)};  // the ids a caller hands over
  f.needed_bytes =
      engine.weights_bytes + engine.session_bytes(plan.context) + f.step_bytes + machine.program_bytes + prompt_bytes;
  f.weights_fit = engine.weights_bytes <= available;
  f.sessions = sessions_that_fit(engine, plan.context, std::max(1, machine.info.cores), available);
  const double bytes = plan.weights->active_bytes + plan.reads.entries + plan.reads.keys;
  if (machine.read_bytes_per_second > 0) f.memory_limit = machine.read_bytes_per_second / bytes;
  if (machine.bf16_ops_per_second > 0 && machine.int8_ops_per_second > 0) {
    f.arithmetic_limit = 1 / ((plan.flops->total() - plan.flops->index) / machine.bf16_ops_per_second +
                              plan.flops->index / machine.int8_ops_per_second);
  }
  return f;
}

}  // namespace hadal
