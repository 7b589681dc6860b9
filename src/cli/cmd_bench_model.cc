// hadal bench decode, prefill, depth, load, restore: a whole model's speed; and slice, which writes a model to measure.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/report.h"
#include "files/display_name.h"
#include "kernels/kernels.h"
#include "machine/cores.h"
#include "plan/bench_model.h"
#include "plan/figure.h"
#include "weights/random_weights.h"

namespace hadal::cli {
namespace {

nlohmann::ordered_json row_json(const ModelBenchRow& r, int threads) {
  nlohmann::ordered_json out = {{"name", r.name},   {"isa", kernels().name}, {"threads", threads},
                                {"depth", r.depth}, {"rate", r.rate},        {"unit", r.unit}};
  out["limit"] = r.limit > 0 ? nlohmann::ordered_json(r.limit) : nullptr;
  out["share"] = r.limit > 0 ? nlohmann::ordered_json(r.share()) : nullptr;
  out["cache_bytes"] = r.cache_bytes;
  if (r.experts)
    out["experts"] = {{"steps", r.steps},
                      {"hits", r.experts->hits},
                      {"prefetched", r.experts->prefetched},
                      {"misses", r.experts->misses},
                      {"prefetched_for_nothing", r.experts->wasted},
                      {"guessed", r.experts->guessed},
                      {"guessed_right", r.experts->guessed_right},
                      {"bytes_read", r.experts->bytes_read},
                      {"seconds", r.step_seconds},
                      {"stall_seconds", r.experts->stall_seconds},
                      {"pack_seconds", r.experts->pack_seconds},
                      {"disk_bytes_per_second", r.disk_bytes_per_second},
                      {"rate_disk_allows", r.rate_disk_allows()},
                      {"share_of_disk", r.share_of_disk()}};
  return out;
}

// The last name of a path: what a title can hold.
std::string model_title(const std::string& directory) {
  std::error_code error;
  const auto whole = std::filesystem::absolute(directory, error).lexically_normal();
  std::string name = display_name((whole.has_filename() ? whole : whole.parent_path()).filename().string());
  for (char& c : name)
    if (static_cast<unsigned char>(c) > 0x7E) c = '?';  // perhaps no valid UTF-8, which drawing refuses
  return name.empty() ? "model" : name;
}

std::string temporary_directory() {
  const char* t = std::getenv("TMPDIR");
  return t && *t ? t : "/tmp";
}

}  // namespace

int run_bench_model(const BenchOptions& options, const std::string& what) {
  if (Status ok = check_plots(options.plots); !ok) return report(ok.error());
  auto checkpoint = Checkpoint::open(model_files(options.model));
  if (!checkpoint) return report(checkpoint.error());
  const int threads = options.threads > 0 ? options.threads : available_cores();

  ModelBenchOptions bench;
  bench.threads = threads;
  bench.expert_memory = options.expert_memory;
  bench.repack_cache = options.repack_cache;
  bench.seconds = options.seconds;
  bench.depths = what == "depth"  ? std::vector<std::int64_t>{8192, 131072, 1048576}
                 : what == "load" ? std::vector<std::int64_t>{}
                                  : options.depths;
  bench.decode = what == "decode" || what == "depth";
  bench.prefill = what == "prefill" || what == "depth";
  bench.load = what == "load";
  bench.restore = what == "restore";
  bench.sessions = what == "sessions";
  bench.scratch_directory = temporary_directory();
  auto rows = nlohmann::ordered_json::array();
  std::vector<ModelBenchRow> measured;
  bench.row = [&](const ModelBenchRow& r) {
    measured.push_back(r);
    if (options.json) {
      rows.push_back(row_json(r, threads));
    } else {
      if (rows.empty())
        fmt::print("{:<8} {:>9} {:>11} {:>11}  {:<8} {:>6} {:>11}\n", "what", "depth", "rate", "limit", "unit", "share",
                   "cache MB");
      rows.push_back(nullptr);
      fmt::print("{:<8} {:>9} {:>11.2f} {:>11.2f}  {:<8} {:>6.3f} {:>11.2f}\n", r.name, r.depth, r.rate, r.limit,
                 r.unit, r.share(), static_cast<double>(r.cache_bytes) / 1e6);
      std::fflush(stdout);
    }
    return !interrupted();
  };
  const Status done = bench_model(*checkpoint, bench);
  const MachineInfo machine = machine_info();
  // Depths that did not fit end the table; what was measured before them is still worth drawing.
  if (!measured.empty() && !interrupted()) {
    const std::string name = options.model.empty() ? "nano" : model_title(options.model);
    const Plot plot = depth_figure(
        {name, (*checkpoint)->config()}, measured,
        fmt::format("{}; {} thread{}, {}", machine_text(machine), threads, threads == 1 ? "" : "s", kernels().name));
    if (Status written = write_plots(plot, options.plots); !written) return report(written.error());
  }
  if (!done) return report(done.error());
  if (options.json) {
    const nlohmann::ordered_json out = {{"machine", nlohmann::ordered_json::parse(machine_json(machine))},
                                        {"rows", rows}};
    fmt::print("{}\n", out.dump(2));
  }
  return 0;
}

int run_bench_slice(const SliceOptions& o) {
  ModelConfig config = o.of == "flash" ? flash_config() : pro_config();
  const auto refuse = [](const std::string& why) { return report({ErrorCode::kUsage, why}); };
  if (o.layers < 1 || o.layers > config.num_hidden_layers)
    return refuse(
        fmt::format("--layers {} is not from 1 to {}, all that {} has", o.layers, config.num_hidden_layers, o.of));
  if (o.experts < config.num_experts_per_tok || o.experts > config.n_routed_experts)
    return refuse(fmt::format("--experts {} is not from {}, chosen for one token, to {}, all that {} has", o.experts,
                              config.num_experts_per_tok, config.n_routed_experts, o.of));
  if (o.vocabulary < 16 || o.vocabulary > config.vocab_size)
    return refuse(fmt::format("--vocabulary {} is not from 16 to {}", o.vocabulary, config.vocab_size));
  if (o.shard_mib < 1) return refuse(fmt::format("--shard-mib {} is not positive", o.shard_mib));
  config.num_hidden_layers = o.layers;
  config.compress_ratios.resize(static_cast<std::size_t>(o.layers));
  config.compress_ratios.push_back(0);  // the MTP block's
  config.num_hash_layers = std::min(config.num_hash_layers, o.layers);
  config.n_routed_experts = o.experts;
  config.vocab_size = o.vocabulary;
  if (!o.mtp) {
    config.num_nextn_predict_layers = 0;
    config.compress_ratios.pop_back();
  }

  RandomCheckpointOptions random;
  random.seed = static_cast<std::uint64_t>(o.seed);
  random.shard_bytes = o.shard_mib << 20;
  random.with_mtp = o.mtp;
  std::optional<Progress> progress;
  std::int64_t written = 0;
  random.progress = [&](std::int64_t done, std::int64_t all) {
    if (!progress) progress.emplace("writing", "B", all);
    progress->update(written = done);
    return !interrupted();
  };
  if (Status done = write_random_checkpoint(config, o.out, random); !done) return report(done.error());
  if (progress) progress->finish();
  fmt::print("{}: {} layers of {} with {} experts, {:.2f} GB\n", o.out, o.layers, o.of, o.experts,
             static_cast<double>(written) / 1e9);
  return 0;
}

}  // namespace hadal::cli
