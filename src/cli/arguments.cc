#include "cli/arguments.h"

#include <CLI/CLI.hpp>

#include "cli/options.h"

namespace hadal::cli {

int dispatch(int argc, char** argv) {
  CLI::App app{"hadal: an engine and agent platform for DeepSeek-V4"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "hadal 0.1.0");
  int status = 0;

  RunOptions run;
  auto* run_cmd = app.add_subcommand("run", "answer one prompt, or chat without -p");
  run_cmd->add_option("--model", run.model, "checkpoint directory (default: the embedded nano model)");
  run_cmd->add_option("-p,--prompt", run.prompt, "the prompt; without it an interactive chat starts");
  run_cmd->add_option("--file", run.prompt_file, "a document put before the prompt");
  run_cmd->add_option("--tools", run.tools_file, "JSON list of tool schemas the model may call");
  run_cmd->add_option("--system", run.system, "system message");
  run_cmd->add_option("--think", run.think, "reasoning mode")->check(CLI::IsMember({"none", "high", "max"}))->capture_default_str();
  run_cmd->add_option("--temp", run.temperature, "temperature; 0 is greedy (default: generation_config.json)");
  run_cmd->add_option("--top-p", run.top_p, "nucleus sampling");
  run_cmd->add_option("--top-k", run.top_k, "keep the k most likely tokens");
  run_cmd->add_option("--min-p", run.min_p, "keep tokens at least this fraction of the most likely");
  run_cmd->add_option("--seed", run.seed, "seed of the counter-based generator");
  run_cmd->add_option("-n,--max-tokens", run.max_tokens, "stop after this many tokens");
  run_cmd->add_option("--numerics", run.numerics, "arithmetic")->check(CLI::IsMember({"reference", "exact", "trained"}))->capture_default_str();
  run_cmd->add_option("--format", run.format, "chat generation instead of the detected one")->check(CLI::IsMember({"preview", "0731"}));
  run_cmd->add_option("--threads", run.threads, "worker threads (default: all cores)");
  run_cmd->add_option("--context", run.context, "context limit in tokens (default: the model's)");
  run_cmd->add_flag("--raw", run.raw, "the prompt is token text as it is, no chat template");
  run_cmd->add_flag("--json", run.json, "one JSON document on stdout");
  run_cmd->add_flag("--quiet", run.quiet, "no statistics line");
  run_cmd->callback([&] { status = run_run(run); });

  InspectOptions inspect;
  auto* inspect_cmd = app.add_subcommand("inspect", "what a checkpoint directory holds, and whether it is complete");
  inspect_cmd->add_option("directory", inspect.directory, "checkpoint directory")->required();
  inspect_cmd->add_flag("--json", inspect.json, "one JSON document on stdout");
  inspect_cmd->add_flag("--verify", inspect.verify, "read every tensor: scales, ranges, checksums");
  inspect_cmd->add_flag("--tensors", inspect.tensors, "list every tensor");
  inspect_cmd->callback([&] { status = run_inspect(inspect); });

  LogitsOptions logits;
  auto* logits_cmd = app.add_subcommand("logits", "logits for given ids, for conformance tests");
  logits_cmd->add_option("--model", logits.model, "checkpoint directory (default: the embedded nano model)");
  logits_cmd->add_option("--ids", logits.ids, "JSON list of token ids")->required();
  logits_cmd->add_option("--out", logits.out, "safetensors file to write")->required();
  logits_cmd->add_option("--numerics", logits.numerics, "arithmetic")->check(CLI::IsMember({"reference", "exact", "trained"}))->capture_default_str();
  logits_cmd->add_option("--rope-table", logits.rope_table, "safetensors with rope.inv_freq_plain and rope.inv_freq_compressed");
  logits_cmd->add_option("--chunks", logits.chunks, "piece sizes, repeated")->delimiter(',');
  logits_cmd->add_option("--threads", logits.threads, "worker threads (default: all cores)");
  logits_cmd->add_flag("--round-inputs", logits.round_inputs, "FP8 rounding of linear inputs (golden regime full)");
  logits_cmd->add_flag("--no-round-cache", logits.no_round_cache, "no rounding of cache rows and index keys (golden regime f32)");
  logits_cmd->add_flag("--mtp", logits.mtp, "also write the MTP block's logits");
  logits_cmd->callback([&] { status = run_logits(logits); });

  TokenizeOptions tokenize;
  auto* tokenize_cmd = app.add_subcommand("tokenize", "JSON lines: strings to ids, or ids to text");
  tokenize_cmd->add_option("--model", tokenize.model, "checkpoint directory (default: the embedded nano model)");
  tokenize_cmd->add_flag("--literal", tokenize.literal, "recognise no special tokens");
  tokenize_cmd->add_flag("--decode", tokenize.decode, "lists of ids in; streaming deltas out");
  tokenize_cmd->callback([&] { status = run_tokenize(tokenize); });

  auto* chat_cmd = app.add_subcommand("chat", "the chat codec");
  chat_cmd->require_subcommand(1);
  ChatOptions encode, decode;
  auto* encode_cmd = chat_cmd->add_subcommand("encode", "JSON lines: messages to prompt text");
  encode_cmd->callback([&] { status = run_chat_encode(encode); });
  auto* decode_cmd = chat_cmd->add_subcommand("decode", "JSON lines: completion text to a message");
  decode_cmd->add_flag("--lenient", decode.lenient, "the forgiving parser that serves users");
  decode_cmd->callback([&] { status = run_chat_decode(decode); });

  PlanOptions plan;
  auto* plan_cmd = app.add_subcommand("plan", "memory, bytes and FLOPs of a model, and whether it fits here");
  plan_cmd->add_option("--model", plan.model, "directory, or flash, pro, v3.2, gqa8 (default: compare all four)");
  plan_cmd->add_option("--context", plan.context, "tokens of context")->capture_default_str();
  plan_cmd->add_flag("--json", plan.json, "one JSON document on stdout");
  plan_cmd->callback([&] { status = run_plan(plan); });

  BenchOptions bench;
  auto* bench_cmd = app.add_subcommand("bench", "measured rates, each with its share of the machine's limit");
  bench_cmd->add_option("what", bench.what, "what to measure")->check(CLI::IsMember({"kernels"}))->capture_default_str();
  bench_cmd->add_option("--model", bench.model, "checkpoint directory (default: the embedded nano model)");
  bench_cmd->add_option("--threads", bench.threads, "worker threads (default: all cores)");
  bench_cmd->add_flag("--json", bench.json, "one JSON document on stdout");
  bench_cmd->callback([&] { status = run_bench(bench); });

  EvalOptions eval;
  auto* eval_cmd = app.add_subcommand("eval", "evidence: answers scored against what is right");
  eval_cmd->require_subcommand(1);
  auto* cases_cmd = eval_cmd->add_subcommand("cases", "prompts with one right answer, answered greedily token by token");
  cases_cmd->add_option("file", eval.file, "one JSON object per line: id, kind, prompt, expected")->required();
  cases_cmd->add_option("--model", eval.model, "checkpoint directory (default: the embedded nano model)");
  cases_cmd->add_option("--numerics", eval.numerics, "arithmetic")->check(CLI::IsMember({"reference", "exact", "trained"}))->capture_default_str();
  cases_cmd->add_option("--kind", eval.kind, "only cases of this kind");
  cases_cmd->add_option("--limit", eval.limit, "only the first so many of each kind");
  cases_cmd->add_option("--threads", eval.threads, "worker threads (default: all cores)");
  cases_cmd->add_flag("--failures", eval.failures, "print what was expected and what came");
  cases_cmd->add_flag("--json", eval.json, "one JSON document on stdout");
  cases_cmd->callback([&] { status = run_eval_cases(eval); });

  std::string shell;
  auto* completion_cmd = app.add_subcommand("completion", "print a completion script");
  completion_cmd->add_option("shell", shell, "bash")->required()->check(CLI::IsMember({"bash"}));
  completion_cmd->callback([&] { status = run_completion(shell); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  return status;
}

}  // namespace hadal::cli
