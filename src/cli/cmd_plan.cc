// hadal plan: memory, bytes and FLOPs of a model, beside what this machine has.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/embedded.h"
#include "cli/numbers.h"
#include "cli/options.h"
#include "cli/plan_speed.h"
#include "cli/report.h"
#include "plan/figure.h"
#include "plan/plan.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

// A model and, where it is one, the checkpoint it was read from.
struct Subject {
  ModelPlan plan;
  std::shared_ptr<const Checkpoint> checkpoint;
};

Result<Subject> plan_named(const std::string& name, std::int64_t context) {
  const auto& published = published_models();
  if (std::find(published.begin(), published.end(), name) != published.end())
    return Subject{HADAL_TRY(plan_published(name, context)), nullptr};
  if (name == "nano") {
    auto nano = HADAL_TRY(Checkpoint::open_for_inspection(model_files("")));
    return Subject{HADAL_TRY(plan_checkpoint("nano", *nano, context)), nano};
  }
  auto checkpoint = Checkpoint::open_for_inspection(name);
  if (!checkpoint) {
    return fail(checkpoint.error().code, "{}; --model takes a checkpoint directory or one of nano, {}",
                checkpoint.error().what, fmt::join(published, ", "));
  }
  return Subject{HADAL_TRY(plan_checkpoint(name, **checkpoint, context)), *checkpoint};
}

// --- one model

void print_cache(const ModelPlan& p) {
  fmt::print("  {:<26}{:>14}{:>14}{:>11}{:>11}\n", "cache", "bytes/token", "in all", "of V3.2", "of GQA-8");
  for (const CacheLine& line : p.cache) {
    fmt::print("    {:<24}{:>14}{:>14}{:>11}{:>11}\n", line.counting, grouped(line.bytes_per_token, 1),
               bytes_text(line.bytes), percent(line.of_v32), percent(line.of_gqa8));
  }
}

void print_flops(const ModelPlan& p) {
  const FlopCount& f = *p.flops;
  fmt::print("  work for one token        {} FLOP\n", operations(f.total()));
  fmt::print("    matrices                FP8 {}, routed experts {}, BF16 and F32 {}\n", operations(f.fp8_linear),
             operations(f.experts), operations(f.wide_linear));
  fmt::print("    context                 index scores {}, attention {}\n", operations(f.index),
             operations(f.attention));
  fmt::print("    of V3.2                 {} in FP8-equivalent operations, {} counting every operation as 1\n",
             percent(p.flops_of_v32), percent(p.raw_flops_of_v32));
}

void print_fit(const ModelPlan& p, const MachineLimits& machine) {
  const Fit f = fit(p, machine);
  const EngineMemory& e = *p.engine;
  const auto& info = machine.info;
  fmt::print(
      "  memory in hadal           {}: weights {}, one session {} ({} pages of {}, {} fixed), a step {}, the program "
      "{}\n",
      bytes_text(f.needed_bytes), bytes_text(e.weights_bytes), bytes_text(e.session_bytes(p.context)),
      grouped(static_cast<double>(e.layout.pages_for(p.context))), bytes_text(e.layout.page_bytes),
      bytes_text(e.layout.state_bytes), bytes_text(f.step_bytes), bytes_text(machine.program_bytes));
  if (!f.weights_fit) {
    fmt::print("  here                      does not fit: the weights need {} of memory, {} are available\n",
               bytes_text(e.weights_bytes), bytes_text(info.memory_available_bytes));
  } else if (f.sessions == 0) {
    fmt::print(
        "  here                      the weights fit, a session of this length does not: {} needed, {} are available\n",
        bytes_text(f.needed_bytes), bytes_text(info.memory_available_bytes));
  } else {
    fmt::print("  here                      fits, with {} session{} of this length in {}\n",
               grouped(static_cast<double>(f.sessions)), f.sessions == 1 ? "" : "s",
               bytes_text(info.memory_available_bytes));
  }
  if (f.memory_limit > 0 && f.arithmetic_limit > 0) {
    fmt::print("    decoding, at most       {}{}: {} by memory reads, {} by arithmetic\n", rate(f.decode_limit()),
               f.weights_fit ? "" : " if it fitted", rate(f.memory_limit), rate(f.arithmetic_limit));
  }
}

void print_model(const ModelPlan& p, const MachineLimits& machine) {
  fmt::print("{} at {} tokens\n", p.name, grouped(static_cast<double>(p.context)));
  if (p.config) {
    const LayerCounts& n = p.layers;
    fmt::print("  layers                    {}: {} sliding window only, {} CSA, {} HCA{}\n",
               p.config->num_hidden_layers, n.swa, n.csa, n.hca, n.mtp ? ", and one MTP block" : "");
    const WeightCount& w = *p.weights;
    fmt::print("  parameters                {}, {} touched for one token\n", parameters(w.parameters),
               parameters(w.active_parameters));
    fmt::print("  weights                   {} stored, {} read for one token\n", bytes_text(w.total_bytes()),
               bytes_text(w.active_bytes));
    for (const ClassCount& c : w.classes) {
      if (c.tensors)
        fmt::print("    {:<24}{:>14}{:>10} tensors\n", class_name(c.group), bytes_text(c.bytes),
                   grouped(static_cast<double>(c.tensors)));
    }
  }
  print_cache(p);
  if (p.config) {
    fmt::print("    fixed                   windows {} (included), open compressor windows at most {}\n",
               bytes_text(p.window_bytes), bytes_text(p.open_window_bytes));
    fmt::print("    read for one token      entries {}, index keys {}\n", bytes_text(p.reads.entries),
               bytes_text(p.reads.keys));
  }
  if (p.flops) print_flops(p);
  if (p.engine) print_fit(p, machine);
}

void print_comparison(const std::vector<Subject>& subjects, const MachineLimits& machine) {
  fmt::print("At {} tokens of context\n", grouped(static_cast<double>(subjects.front().plan.context)));
  fmt::print("  {:<8}{:>12}{:>13}{:>12}{:>9}{:>10}{:>12}{:>9}  {}\n", "model", "weights", "cache/token", "cache",
             "of V3.2", "of GQA-8", "FLOP/token", "of V3.2", "here");
  for (const auto& [p, checkpoint] : subjects) {
    std::string here = "-";
    if (p.engine) {
      const Fit f = fit(p, machine);
      here = !f.weights_fit    ? fmt::format("no: {} of memory", bytes_text(f.needed_bytes))
             : f.sessions == 0 ? "weights only"
                               : fmt::format("yes, {} sessions", grouped(static_cast<double>(f.sessions)));
    }
    const CacheLine& c = p.cache.front();
    fmt::print("  {:<8}{:>12}{:>13}{:>12}{:>9}{:>10}{:>12}{:>9}  {}\n", p.name,
               p.weights ? bytes_text(p.weights->total_bytes()) : "-", grouped(c.bytes_per_token, 1),
               bytes_text(c.bytes), percent(c.of_v32), percent(c.of_gqa8), p.flops ? operations(p.flops->total()) : "-",
               p.flops ? percent(p.flops_of_v32) : "-", here);
  }
  fmt::print("Operations are compared as FP8 equivalents. 'hadal plan --model NAME' shows one model in full.\n");
}

void print_machine(const MachineLimits& m) {
  fmt::print("this machine                {}, {} core{}; {} of memory, {} available", m.info.model_name, m.info.cores,
             m.info.cores == 1 ? "" : "s", bytes_text(m.info.memory_total_bytes),
             bytes_text(m.info.memory_available_bytes));
  if (m.read_bytes_per_second > 0) fmt::print("; reads {}/s", bytes_text(m.read_bytes_per_second));
  fmt::print("\n");
}

// --- the same as JSON

Json cache_json(const ModelPlan& p) {
  Json out = {{"bytes_per_token", p.cache.front().bytes_per_token},
              {"bytes", p.cache.front().bytes},
              {"of_v3.2", p.cache.front().of_v32},
              {"of_gqa8", p.cache.front().of_gqa8},
              {"countings", Json::array()}};
  for (const CacheLine& line : p.cache) {
    out["countings"].push_back({{"name", line.counting},
                                {"bytes_per_token", line.bytes_per_token},
                                {"bytes", line.bytes},
                                {"of_v3.2", line.of_v32},
                                {"of_gqa8", line.of_gqa8}});
  }
  if (p.config) {
    out["window_bytes"] = p.window_bytes;
    out["open_window_bytes"] = p.open_window_bytes;
    out["entry_bytes_read"] = p.reads.entries;
    out["key_bytes_read"] = p.reads.keys;
  }
  return out;
}

Json weights_json(const WeightCount& w) {
  Json classes = Json::object();
  for (const ClassCount& c : w.classes) {
    if (c.tensors) classes[std::string(class_name(c.group))] = {{"tensors", c.tensors}, {"bytes", c.bytes}};
  }
  return {{"bytes", w.total_bytes()},       {"main_bytes", w.main_bytes},
          {"mtp_bytes", w.mtp_bytes},       {"bytes_read", w.active_bytes},
          {"routed_bytes", w.routed_bytes}, {"routed_bytes_read", w.active_routed_bytes},
          {"classes", std::move(classes)}};
}

Json fit_json(const ModelPlan& p, const MachineLimits& machine) {
  const Fit f = fit(p, machine);
  const EngineMemory& e = *p.engine;
  Json out = {{"weights_bytes", e.weights_bytes},       {"session_bytes", e.session_bytes(p.context)},
              {"page_bytes", e.layout.page_bytes},      {"page_tokens", e.layout.page_tokens},
              {"state_bytes", e.layout.state_bytes},    {"step_bytes", f.step_bytes},
              {"program_bytes", machine.program_bytes}, {"needed_bytes", f.needed_bytes},
              {"weights_fit", f.weights_fit},           {"sessions", f.sessions}};
  const auto limit = [](double x) { return x > 0 ? Json(x) : Json(nullptr); };
  out["decode_limit_tokens_per_second"] = limit(f.decode_limit());
  out["memory_limit_tokens_per_second"] = limit(f.memory_limit);
  out["arithmetic_limit_tokens_per_second"] = limit(f.arithmetic_limit);
  return out;
}

Json model_json(const ModelPlan& p, const MachineLimits& machine) {
  Json out = {{"model", p.name}, {"context", p.context}};
  if (p.config) {
    const LayerCounts& n = p.layers;
    out["layers"] = {{"sliding_window", n.swa}, {"csa", n.csa}, {"hca", n.hca}, {"mtp", n.mtp}};
    out["parameters"] = {{"total", std::llround(p.weights->parameters)},
                         {"active", std::llround(p.weights->active_parameters)}};
    out["weights"] = weights_json(*p.weights);
  }
  out["cache"] = cache_json(p);
  if (p.flops) {
    const FlopCount& f = *p.flops;
    out["flops"] = {{"total", f.total()},
                    {"fp8_linear", f.fp8_linear},
                    {"routed_experts", f.experts},
                    {"wide_linear", f.wide_linear},
                    {"index", f.index},
                    {"attention", f.attention},
                    {"fp8_equivalent", p.fp8_equivalent_flops},
                    {"fp8_equivalent_of_v3.2", p.flops_of_v32},
                    {"raw_of_v3.2", p.raw_flops_of_v32}};
  }
  if (p.engine) out["here"] = fit_json(p, machine);
  return out;
}

Json machine_json(const MachineLimits& m) {
  return {{"model", m.info.model_name},
          {"cores", m.info.cores},
          {"isa", m.info.isa},
          {"memory_total_bytes", m.info.memory_total_bytes},
          {"memory_available_bytes", m.info.memory_available_bytes},
          {"read_bytes_per_second", m.read_bytes_per_second},
          {"bf16_ops_per_second", m.bf16_ops_per_second},
          {"int8_ops_per_second", m.int8_ops_per_second},
          {"f32_ops_per_second", m.f32_ops_per_second},
          {"round_trip_seconds", m.round_trip_seconds}};
}

Result<std::vector<Subject>> plans_for(const PlanOptions& options) {
  std::vector<Subject> plans;
  std::vector<std::string> names = {"nano", "flash", "pro", "v3.2", "gqa8"};
  if (!options.model.empty()) names = {options.model};
  for (const std::string& name : names) plans.push_back(HADAL_TRY(plan_named(name, options.context)));
  return plans;
}

// The model asked for, or without one Flash and Pro.
Status draw_plots(const std::vector<Subject>& plans, const std::vector<std::string>& paths) {
  if (paths.empty()) return {};
  std::vector<AccountedModel> models;
  if (plans.size() == 1 && plans.front().plan.config) {
    models.push_back({plans.front().plan.name, *plans.front().plan.config});
  } else {
    models = {{"V4-Flash", flash_config()}, {"V4-Pro", pro_config()}};
  }
  return write_plots(accounting_figure(models), paths);
}

}  // namespace

int run_plan(const PlanOptions& options) {
  if (Status ok = check_plots(options.plots); !ok) return report(ok.error());
  auto plans = plans_for(options);
  if (!plans) return report(plans.error());
  if (Status drawn = draw_plots(*plans, options.plots); !drawn) return report(drawn.error());
  const bool one = !options.model.empty();
  const MachineLimits machine = measure_machine(options.threads);
  const Subject& first = plans->front();
  std::optional<PlanSpeed> speed;
  if (one && first.plan.engine) {
    auto measured = measure_plan_speed(first.plan, first.checkpoint.get(), machine, options);
    if (!measured) return report(measured.error());
    speed = std::move(*measured);
  }
  if (options.json) {
    Json out = {{"machine", machine_json(machine)}};
    if (one) {
      out.update(model_json(first.plan, machine));
      if (speed) out["speed"] = Json::parse(speed_json(*speed));
    } else {
      out["models"] = Json::array();
      for (const Subject& s : *plans) out["models"].push_back(model_json(s.plan, machine));
    }
    fmt::print("{}\n", out.dump(2));
    return 0;
  }
  if (one) {
    print_model(first.plan, machine);
    if (speed) print_speed(*speed);
  } else {
    print_comparison(*plans, machine);
  }
  print_machine(machine);
  return 0;
}

}  // namespace hadal::cli
