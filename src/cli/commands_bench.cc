#include <memory>

#include "cli/common_options.h"
#include "cli/options.h"

namespace hadal::cli {
namespace {

void define_whole(Command group, const std::string& name, const std::string& summary) {
  auto shared = std::make_shared<BenchOptions>();
  BenchOptions& o = *shared;
  Command c = group.add(name, summary, [shared, name] { return run_bench_model(*shared, name); });
  model_option(c, o.model);
  if (name != "load" && name != "depth")
    c.numbers("--depths", o.depths, "tokens of context, separated by commas", 1, std::int64_t{1} << 30);
  c.number("--seconds", o.seconds, "how long to measure each figure")
      .among_reals(0.01, 3600.0)
      .takes("S")
      .show_default();
  threads_option(c, o.threads);
  expert_memory_option(c, o.expert_memory);
  repack_cache_option(c, o.repack_cache);
  if (name == "depth") plot_option(c, o.plots, "speed, work and cache against context");
  json_option(c, o.json);
}

void define_slice(Command group) {
  auto shared = std::make_shared<SliceOptions>();
  SliceOptions& o = *shared;
  Command c = group.add("slice", "write a checkpoint with a release's layers, few of them, and random weights",
                        [shared] { return run_bench_slice(*shared); });
  c.path("out", o.out, "a directory that holds no checkpoint yet").required().takes("DIR");
  c.choice("--of", o.of, "whose layers", {"flash", "pro"}).show_default();
  c.number("--layers", o.layers, "how many of them, from the first").show_default();
  c.number("--experts", o.experts, "routed experts per layer").show_default();
  c.number("--vocabulary", o.vocabulary, "entries of embedding and head").show_default();
  c.number("--seed", o.seed, "the same seed writes the same bytes").show_default();
  c.number("--shard-mib", o.shard_mib, "largest shard file").show_default();
  c.flag("--mtp", o.mtp, "with the MTP block");
}

void define_bench(Command root) {
  Command group = root.add("bench", "measured rates, each with its share of the machine's limit");
  auto kernels = std::make_shared<BenchOptions>();
  Command c = group.add("kernels", "the arithmetic kernels of every instruction set",
                        [kernels] { return run_bench_kernels(*kernels); });
  threads_option(c, kernels->threads);
  json_option(c, kernels->json);
  define_whole(group, "decode", "one token after another, at given depths");
  define_whole(group, "prefill", "a step of a long prompt, at given depths");
  define_whole(group, "depth", "decoding, prefill and cache bytes from 8K to 1M tokens");
  define_whole(group, "load", "a checkpoint made ready");
  define_whole(group, "restore", "a session read back from disk, at given depths");
  define_whole(group, "sessions", "a fork, the first token of a prompt read before, sixteen answers at a time");
  define_slice(group);
}

void define_eval(Command root) {
  auto shared = std::make_shared<EvalOptions>();
  EvalOptions& o = *shared;
  Command group = root.add("eval", "evidence: answers scored against what is right");
  Command c = group.add("cases", "prompts with one right answer, answered greedily",
                        [shared] { return run_eval_cases(*shared); });
  c.path("file", o.file, "one JSON object per line: id, kind, prompt, expected").required();
  model_option(c, o.model);
  numerics_option(c, o.numerics);
  c.text("--kind", o.kind, "only cases of this kind").takes("WORD");
  c.number("--limit", o.limit, "only the first so many of each kind");
  threads_option(c, o.threads);
  c.flag("--failures", o.failures, "print what was expected and what came");
  json_option(c, o.json);
}

}  // namespace

void define_bench_commands(Command root) {
  define_bench(root);
  define_eval(root);
}

}  // namespace hadal::cli
