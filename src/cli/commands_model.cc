#include <memory>

#include "cli/common_options.h"
#include "cli/options.h"
#include "plan/plan.h"

namespace hadal::cli {
namespace {

void define_run(Command root) {
  auto shared = std::make_shared<RunOptions>();
  RunOptions& o = *shared;
  Command c = root.add("run", "answer one prompt, or chat", [shared] { return run_run(*shared); });
  model_option(c, o.model);
  c.text("-p,--prompt", o.prompt, "the prompt; without it a chat starts");
  c.path("--file", o.prompt_file, "a document that is put before the prompt");
  c.path("--tools", o.tools_file, "JSON list of tool schemas that the model may call");
  c.text("--system", o.system, "system message");
  c.choice("--think", o.think, "reasoning mode", {"none", "high", "max"}).show_default();
  c.number("--temp", o.temperature, "temperature, 0 for greedy (default: the model's)");
  c.number("--top-p", o.top_p, "keep the most likely tokens that together reach this probability, above 0, at most 1");
  c.number("--top-k", o.top_k, "keep this many of the most likely tokens, 0 for all");
  c.number("--min-p", o.min_p, "keep tokens at least this fraction as likely as the most likely, 0 to 1");
  c.number("--seed", o.seed, "seed of the draws (default: from the clock)");
  c.number("-n,--max-tokens", o.max_tokens,
           "stop after this many tokens (default: until the model stops or the context is full)");
  numerics_option(c, o.numerics);
  format_option(c, o.format);
  threads_option(c, o.threads);
  expert_memory_option(c, o.expert_memory);
  repack_cache_option(c, o.repack_cache);
  c.number("--context", o.context, "longest context, in tokens (default: the model's)", 1);
  c.flag("--raw", o.raw, "the prompt is token text as it is, without a chat template");
  json_option(c, o.json);
  c.flag("--quiet", o.quiet, "no statistics at the end");
}

void define_serve(Command root) {
  auto shared = std::make_shared<ServeOptions>();
  ServeOptions& o = *shared;
  Command c = root.add("serve", "answer HTTP requests of OpenAI's and Anthropic's clients",
                       [shared] { return run_serve(*shared); });
  model_option(c, o.model);
  c.text("--name", o.model_name, "the model's name for clients (default: its directory's)").takes("WORD");
  c.text("--host", o.host, "IP address to listen on; other than this machine's own needs --api-key-file")
      .takes("ADDRESS")
      .show_default();
  c.number("--port", o.port, "TCP port, 0 for a free one (default: 8420, or none with --unix)").among(0, 65535);
  c.path("--unix", o.unix_path, "listen on this Unix socket, which only this user can open");
  c.path("--api-key-file", o.key_file, "clients must send one of the keys in this file, one a line");
  c.path("--data", o.data, "keep sessions in this directory across restarts").takes("DIR");
  c.path("--ready-file", o.ready_file, "write the base URL into this file once requests are accepted");
  c.number("--running", o.running, "answers generated together", 1).show_default();
  c.number("--waiting", o.waiting, "requests in line; more are told to come back later").show_default();
  c.size("--cache-memory", o.cache_memory, "memory for kept prefixes (default: a quarter of what is free)");
  c.size("--cache-disk", o.cache_disk, "size of their files in the --data directory").default_text("64G");
  c.text("--cache-windows", o.cache_windows,
         "sliding windows written to disk with kept prefixes: full (all), none (computed again), a number N (one every "
         "N tokens), auto (the cheapest here)")
      .takes("WORD")
      .show_default();
  c.size("--max-body", o.max_body, "largest request", std::int64_t{1} << 32).default_text("64M");
  c.flag("--strict", o.strict, "refuse what would get a warning: unknown fields, tools of unknown types");
  c.path("--rewrite", o.rewrite_file, "rules that take changing text out of system prompts (docs/http.md)");
  c.path("--trace", o.trace_file, "append what was made of every request, texts included");
  numerics_option(c, o.numerics);
  format_option(c, o.format);
  threads_option(c, o.threads);
  expert_memory_option(c, o.expert_memory);
  repack_cache_option(c, o.repack_cache);
}

void define_plan(Command root) {
  auto shared = std::make_shared<PlanOptions>();
  PlanOptions& o = *shared;
  Command c = root.add("plan", "memory, work and speed of a model here, without loading it",
                       [shared] { return run_plan(*shared); });
  std::vector<std::string> names = published_models();
  names.insert(names.begin(), "nano");
  c.path_or_word("--model", o.model, "checkpoint directory, or one of these names (default: compare)", names)
      .takes("MODEL");
  c.number("--context", o.context, "length of a session, in tokens").show_default();
  plot_option(c, o.plots, "work and cache against context");
  c.flag("--quick", o.quick, "count only: do not time the model's layers and its disk, which takes ten seconds");
  threads_option(c, o.threads);
  expert_memory_option(c, o.expert_memory);
  json_option(c, o.json);
}

}  // namespace

void define_model_commands(Command root) {
  define_run(root);
  define_serve(root);
  define_plan(root);
}

}  // namespace hadal::cli
