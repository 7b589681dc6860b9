#include "cli/arguments.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <type_traits>

#include "cli/command_info.h"
#include "cli/options.h"
#include "cli/report.h"
#include "plan/plan.h"

namespace hadal::cli {
namespace {

template <class T>
struct Inner {
  using Type = T;
};
template <class T>
struct Inner<std::optional<T>> {
  using Type = T;
};

// The parser's own conversion clamps what is too large and wraps what is negative; this refuses both.
template <class T>
CLI::Validator whole_number(T least) {
  auto check = [least](const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value >= least) return std::string();
    return fmt::format("'{}' is not a whole number from {} to {}", text, least, std::numeric_limits<T>::max());
  };
  return CLI::Validator(check, "");
}

// Bytes: digits with K, M, G or T for a power of 1,024. Nothing for what is not that, or too large.
std::optional<std::int64_t> parse_size(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  int shift = 0;
  if (!text.empty())
    if (const auto unit = kUnits.find(text.back()); unit != std::string_view::npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      text.remove_suffix(1);
    }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value <= 0 || value > (INT64_MAX - 1) >> shift)
    return std::nullopt;
  return value << shift;
}

// Every command's options with storage for their values, and what to run once parsed.
class CommandLine {
 public:
  CommandLine() : app_("an engine and agent platform for DeepSeek-V4", "hadal") {
    app_.set_version_flag("--version", "hadal " HADAL_VERSION, "print the version");
    app_.set_help_flag("-h,--help", "print this page");
    app_.require_subcommand(1);
    define_run();
    define_serve();
    define_plan();
    define_inspect();
    define_logits();
    define_tokenize();
    define_chat();
    define_bench();
    define_eval();
    define_session();
    define_completion();
  }

  CLI::App& app() { return app_; }
  int run() const { return action_(); }
  CommandInfo tree() const { return describe(app_, "hadal"); }

 private:
  CLI::App* command(CLI::App& parent, const std::string& name, const std::string& summary,
                    std::function<int()> action = {}) {
    CLI::App* c = parent.add_subcommand(name, summary);
    c->set_help_flag("-h,--help", "print this page");
    if (action) {
      c->callback([this, action = std::move(action)] { action_ = action; });
    } else {
      c->require_subcommand(1);
    }
    return c;
  }

  // An option that takes one of a few values; the list serves the check, the help text and completion.
  template <class T>
  CLI::Option* choice(CLI::App* c, const std::string& names, T& value, const std::string& help,
                      std::vector<std::string> choices) {
    CLI::Option* o = c->add_option(names, value, help)->type_name("WORD")->check(CLI::IsMember(choices));
    choices_[o] = std::move(choices);
    return o;
  }
  template <class T>
  CLI::Option* number(CLI::App* c, const std::string& names, T& value, const std::string& help, int least = 0) {
    CLI::Option* o = c->add_option(names, value, help)->type_name("N");
    using Value = typename Inner<T>::Type;
    if constexpr (std::is_integral_v<Value>) o->check(whole_number<Value>(static_cast<Value>(least)));
    return o;
  }
  // A file or directory. An empty name is a script's unset variable, and must not mean "not given".
  CLI::Option* path(CLI::App* c, const std::string& names, std::string& value, const std::string& help) {
    return c->add_option(names, value, help)->type_name("FILE")->check([](const std::string& name) {
      return name.empty() ? std::string("the name is empty") : std::string();
    });
  }
  void model(CLI::App* c, std::string& value) {
    path(c, "--model", value, "checkpoint directory (default: the embedded model)")->type_name("DIR");
  }
  void numerics(CLI::App* c, std::string& value) {
    choice(c, "--numerics", value,
           "arithmetic: reference is double precision and slow, exact is float32, trained also rounds the cache as in "
           "training",
           {"reference", "exact", "trained"})
        ->capture_default_str();
  }
  void threads(CLI::App* c, int& value) {
    number(c, "--threads", value, "worker threads (default: every core this process may use)")
        ->check(CLI::Range(0, 4096));
  }
  void expert_memory(CLI::App* c, std::int64_t& value) {
    auto bytes = [](const std::string& text) {
      return text == "auto"  ? std::optional(kExpertsAuto)
             : text == "all" ? std::optional(kExpertsAll)
                             : parse_size(text);
    };
    c->add_option_function<std::string>(
         "--expert-memory", [&value, bytes](const std::string& text) { value = *bytes(text); },
         "memory for routed experts: a size like 12G, the rest is read from disk when needed; all; or auto, which is "
         "all of them if they fit and else what is free")
        ->type_name("SIZE")
        ->check([bytes](const std::string& text) {
          return bytes(text) ? std::string()
                             : fmt::format("'{}' is not a size (bytes, or with K, M, G or T), 'all' or 'auto'", text);
        })
        ->default_str("auto");
  }
  void repack_cache(CLI::App* c, std::string& value) {
    path(c, "--repack-cache", value,
         "keep the packed dense weights in this directory: later starts map them instead of packing again")
        ->type_name("DIR");
  }
  void json(CLI::App* c, bool& value) {
    c->add_flag("--json", value, "print one JSON document on stdout and nothing else");
  }

  // One file per use of the option, so that a positional argument may follow.
  void plots(CLI::App* c, std::vector<std::string>& value, const std::string& what) {
    c->add_option("--plot", value, "draw " + what + " into this file, .svg or .png; may be given twice")
        ->allow_extra_args(false)
        ->type_name("FILE");
  }

  void define_run() {
    RunOptions& o = run_;
    CLI::App* c = command(app_, "run", "answer one prompt, or chat", [&o] { return run_run(o); });
    model(c, o.model);
    c->add_option("-p,--prompt", o.prompt, "the prompt; without it a chat starts")->type_name("TEXT");
    path(c, "--file", o.prompt_file, "a document that is put before the prompt");
    path(c, "--tools", o.tools_file, "JSON list of tool schemas that the model may call");
    c->add_option("--system", o.system, "system message")->type_name("TEXT");
    choice(c, "--think", o.think, "reasoning mode", {"none", "high", "max"})->capture_default_str();
    number(c, "--temp", o.temperature, "temperature, 0 for greedy (default: the model's)");
    number(c, "--top-p", o.top_p,
           "keep the most likely tokens that together reach this probability, above 0, at most 1");
    number(c, "--top-k", o.top_k, "keep this many of the most likely tokens, 0 for all");
    number(c, "--min-p", o.min_p, "keep tokens at least this fraction as likely as the most likely, 0 to 1");
    number(c, "--seed", o.seed, "seed of the draws (default: from the clock)");
    number(c, "-n,--max-tokens", o.max_tokens,
           "stop after this many tokens (default: until the model stops or the context is full)");
    numerics(c, o.numerics);
    choice(c, "--format", o.format, "generation of the chat format (default: detected)", {"preview", "0731"});
    threads(c, o.threads);
    expert_memory(c, o.expert_memory);
    repack_cache(c, o.repack_cache);
    number(c, "--context", o.context, "longest context, in tokens (default: the model's)", 1);
    c->add_flag("--raw", o.raw, "the prompt is token text as it is, without a chat template");
    json(c, o.json);
    c->add_flag("--quiet", o.quiet, "no statistics at the end");
  }

  void define_serve() {
    ServeOptions& o = serve_;
    CLI::App* c = command(app_, "serve", "answer HTTP requests of OpenAI's and Anthropic's clients",
                          [&o] { return run_serve(o); });
    model(c, o.model);
    c->add_option("--name", o.model_name, "the model's name for clients (default: its directory's)")->type_name("WORD");
    c->add_option("--host", o.host, "IP address to listen on; other than this machine's own needs --api-key-file")
        ->type_name("ADDRESS")
        ->capture_default_str();
    number(c, "--port", o.port, "TCP port, 0 for a free one (default: 8420, or none with --unix)")
        ->check(CLI::Range(0, 65535));
    path(c, "--unix", o.unix_path, "listen on this Unix socket, which only this user can open");
    path(c, "--api-key-file", o.key_file, "clients must send one of the keys in this file, one a line");
    path(c, "--data", o.data, "keep sessions in this directory across restarts")->type_name("DIR");
    path(c, "--ready-file", o.ready_file, "write the base URL into this file once requests are accepted");
    number(c, "--running", o.running, "answers generated together", 1)->capture_default_str();
    number(c, "--waiting", o.waiting, "requests in line; more are told to come back later")->capture_default_str();
    c->add_option_function<std::string>(
         "--max-body", [&o](const std::string& text) { o.max_body = *parse_size(text); }, "largest request")
        ->type_name("SIZE")
        ->check([](const std::string& text) {
          const auto size = parse_size(text);
          return size && *size <= (std::int64_t{1} << 32) ? std::string()
                                                          : fmt::format("'{}' is not a size up to 4G", text);
        })
        ->default_str("64M");
    c->add_flag("--strict", o.strict, "refuse what would get a warning: unknown fields, tools of unknown types");
    path(c, "--rewrite", o.rewrite_file, "rules that take changing text out of system prompts (docs/http.md)");
    path(c, "--trace", o.trace_file, "append what was made of every request, texts included");
    numerics(c, o.numerics);
    choice(c, "--format", o.format, "generation of the chat format (default: detected)", {"preview", "0731"});
    threads(c, o.threads);
    expert_memory(c, o.expert_memory);
    repack_cache(c, o.repack_cache);
  }

  void define_plan() {
    PlanOptions& o = plan_;
    CLI::App* c = command(app_, "plan", "memory, work and speed of a model here, without loading it",
                          [&o] { return run_plan(o); });
    CLI::Option* m = path(c, "--model", o.model, "checkpoint directory, or one of these names (default: compare)");
    m->type_name("MODEL");
    choices_[m] = published_models();
    choices_[m].insert(choices_[m].begin(), "nano");
    number(c, "--context", o.context, "length of a session, in tokens")->capture_default_str();
    plots(c, o.plots, "work and cache against context");
    c->add_flag("--quick", o.quick, "count only: do not time the model's layers and its disk, which takes ten seconds");
    threads(c, o.threads);
    expert_memory(c, o.expert_memory);
    json(c, o.json);
  }

  void define_inspect() {
    InspectOptions& o = inspect_;
    CLI::App* c = command(app_, "inspect", "what a checkpoint directory holds, and whether it is complete",
                          [&o] { return run_inspect(o); });
    path(c, "directory", o.directory, "checkpoint directory")->required()->type_name("DIR");
    json(c, o.json);
    c->add_flag("--verify", o.verify, "read every tensor: scales, ranges, checksums");
    c->add_flag("--tensors", o.tensors, "list every tensor");
  }

  void define_logits() {
    LogitsOptions& o = logits_;
    CLI::App* c =
        command(app_, "logits", "logits of given token ids, for conformance tests", [&o] { return run_logits(o); });
    model(c, o.model);
    path(c, "--ids", o.ids, "JSON list of token ids")->required();
    path(c, "--out", o.out, "safetensors file to write")->required();
    numerics(c, o.numerics);
    path(c, "--rope-table", o.rope_table, "safetensors with rope.inv_freq_plain and rope.inv_freq_compressed");
    c->add_option("--chunks", o.chunks, "feed pieces of these many tokens, as in 1,7,64; the list is repeated")
        ->delimiter(',')
        ->type_name("LIST");
    threads(c, o.threads);
    expert_memory(c, o.expert_memory);
    repack_cache(c, o.repack_cache);
    c->add_flag("--round-inputs", o.round_inputs, "round inputs of FP8 and FP4 matrices to FP8 (golden regime full)");
    c->add_flag("--no-round-cache", o.no_round_cache, "do not round cache rows and index keys (golden regime f32)");
    c->add_flag("--mtp", o.mtp, "also write the logits of the MTP block");
  }

  void define_tokenize() {
    TokenizeOptions& o = tokenize_;
    CLI::App* c =
        command(app_, "tokenize", "strings to token ids and back, as JSON lines", [&o] { return run_tokenize(o); });
    model(c, o.model);
    c->add_flag("--literal", o.literal, "recognise no special tokens");
    c->add_flag("--decode", o.decode, "lists of ids in, text out as a streaming decoder emits it");
  }

  void define_chat() {
    CLI::App* c = command(app_, "chat", "the chat codec: messages to tokens' text and back");
    command(*c, "encode", "messages to prompt text, as JSON lines", [this] { return run_chat_encode(encode_); });
    CLI::App* d = command(*c, "decode", "completion text to a message, as JSON lines",
                          [this] { return run_chat_decode(decode_); });
    d->add_flag("--lenient", decode_.lenient, "the forgiving parser that serves users");
  }

  void define_bench() {
    CLI::App* c = command(app_, "bench", "measured rates, each with its share of the machine's limit");
    BenchOptions& o = bench_;
    CLI::App* k = command(*c, "kernels", "the arithmetic kernels of every instruction set",
                          [&o] { return run_bench_kernels(o); });
    threads(k, o.threads);
    json(k, o.json);
    const std::pair<const char*, const char*> whole[] = {
        {"decode", "one token after another, at given depths"},
        {"prefill", "a step of a long prompt, at given depths"},
        {"depth", "decoding, prefill and cache bytes from 8K to 1M tokens"},
        {"load", "a checkpoint made ready"},
        {"restore", "a session read back from disk, at given depths"}};
    for (const auto& [name, summary] : whole) {
      CLI::App* m = command(*c, name, summary, [&o, what = std::string(name)] { return run_bench_model(o, what); });
      model(m, o.model);
      if (name != std::string_view("load") && name != std::string_view("depth"))
        m->add_option("--depths", o.depths, "tokens of context, separated by commas")
            ->delimiter(',')
            ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
            ->type_name("N,...")
            ->capture_default_str();
      m->add_option("--seconds", o.seconds, "how long to measure each figure")
          ->check(CLI::Range(0.01, 3600.0))
          ->type_name("S")
          ->capture_default_str();
      threads(m, o.threads);
      expert_memory(m, o.expert_memory);
      repack_cache(m, o.repack_cache);
      if (name == std::string_view("depth")) plots(m, o.plots, "speed, work and cache against context");
      json(m, o.json);
    }
    SliceOptions& s = slice_;
    CLI::App* d = command(*c, "slice", "write a checkpoint with a release's layers, few of them, and random weights",
                          [&s] { return run_bench_slice(s); });
    d->add_option("out", s.out, "a directory that holds no checkpoint yet")->required()->type_name("DIR");
    choice(d, "--of", s.of, "whose layers", {"flash", "pro"})->capture_default_str();
    number(d, "--layers", s.layers, "how many of them, from the first")->capture_default_str();
    number(d, "--experts", s.experts, "routed experts per layer")->capture_default_str();
    number(d, "--vocabulary", s.vocabulary, "entries of embedding and head")->capture_default_str();
    number(d, "--seed", s.seed, "the same seed writes the same bytes")->capture_default_str();
    number(d, "--shard-mib", s.shard_mib, "largest shard file")->capture_default_str();
    d->add_flag("--mtp", s.mtp, "with the MTP block");
  }

  void define_eval() {
    EvalOptions& o = eval_;
    CLI::App* c = command(app_, "eval", "evidence: answers scored against what is right");
    CLI::App* d =
        command(*c, "cases", "prompts with one right answer, answered greedily", [&o] { return run_eval_cases(o); });
    path(d, "file", o.file, "one JSON object per line: id, kind, prompt, expected")->required();
    model(d, o.model);
    numerics(d, o.numerics);
    d->add_option("--kind", o.kind, "only cases of this kind")->type_name("WORD");
    number(d, "--limit", o.limit, "only the first so many of each kind");
    threads(d, o.threads);
    d->add_flag("--failures", o.failures, "print what was expected and what came");
    json(d, o.json);
  }

  void define_session() {
    SessionOptions& o = session_;
    CLI::App* c = command(app_, "session", "durable sessions: look at them, fork, rewind, move and verify them");
    const auto make = [&](const std::string& name, const std::string& summary) {
      CLI::App* s = command(*c, name, summary, [&o, name] { return run_session(o, name); });
      if (name != "list" && name != "import")
        s->add_option("session", o.session, "its id, or the beginning of it")->required()->type_name("ID");
      return s;
    };
    const auto finish = [&](CLI::App* s, bool with_model) {
      if (with_model) model(s, o.model);
      path(s, "--data", o.data, "folder of durable data (default: $XDG_DATA_HOME/hadal or ~/.local/share/hadal)")
          ->type_name("DIR");
      json(s, o.json);
    };
    const auto branch = [&](CLI::App* s) { number(s, "--branch", o.branch, "a branch (default: the live one)"); };
    finish(make("list", "every session, the one changed last first"), true);
    CLI::App* s = make("show", "the text of a session and where it came from");
    branch(s);
    s->add_flag("--full", o.full, "do not fold long stretches");
    s->add_flag("--ids", o.ids, "token ids instead of text; works without the session's model");
    finish(s, true);
    finish(make("branches", "what rewinding left: every branch and where it began"), false);
    s = make("diff", "where two branches part");
    number(s, "a", o.a, "a branch")->required();
    number(s, "b", o.b, "another")->required();
    finish(s, true);
    s = make("fork", "a new session with the first tokens of another");
    number(s, "--at", o.at, "how many tokens (default: all)");
    branch(s);
    s->add_option("--as", o.as, "id of the new session (default: made up)")->type_name("ID");
    finish(s, false);
    s = make("rewind", "go back to the first tokens, in a new branch");
    number(s, "length", o.at, "how many tokens stay")->required();
    branch(s);
    finish(s, false);
    s = make("export", "one file that holds the whole session");
    path(s, "file", o.file, "the file to make")->required();
    s->add_flag("--intact", o.intact, "of a damaged session, what comes before the damage");
    finish(s, false);
    s = make("import", "take over a file that export made");
    path(s, "file", o.file, "the file")->required();
    s->add_option("--as", o.as, "id to keep it under (default: its own)")->type_name("ID");
    s->add_flag("--any-model", o.any_model, "also one of other weights: its tokens stay, its cache is made again");
    finish(s, true);
    s = make("verify", "feed a session again and compare what the model says with what the log says");
    branch(s);
    threads(s, o.threads);
    finish(s, true);
    finish(make("remove", "delete a session"), false);
  }

  void define_completion() {
    CLI::App* c =
        command(app_, "completion", "print a shell completion script", [this] { return run_completion(shell_); });
    choice(c, "shell", shell_, "which shell", {"bash"})->required();
  }

  CommandInfo describe(const CLI::App& app, const std::string& path) const {
    CommandInfo info{path, app.get_description(), {}, {}};
    for (const CLI::Option* o : app.get_options()) {
      OptionInfo option;
      option.positional = o->get_positional();
      if (option.positional) {
        option.names = {o->get_single_name()};
      } else {
        for (const auto& name : o->get_snames()) option.names.push_back("-" + name);
        for (const auto& name : o->get_lnames()) option.names.push_back("--" + name);
      }
      if (o->get_items_expected_max() > 0) option.value = o->get_type_name();
      // A validator appends what it allows to the type name: "WORD:{none,high,max}".
      option.value = option.value.substr(0, option.value.find(':'));
      if (auto found = choices_.find(o); found != choices_.end()) option.choices = found->second;
      option.help = o->get_description();
      option.default_text = o->get_default_str();
      option.required = o->get_required();
      info.options.push_back(std::move(option));
    }
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
      info.subcommands.push_back(describe(*sub, path + " " + sub->get_name()));
    }
    return info;
  }

  CLI::App app_;
  std::map<const CLI::Option*, std::vector<std::string>> choices_;
  std::function<int()> action_;
  RunOptions run_;
  ServeOptions serve_;
  PlanOptions plan_;
  InspectOptions inspect_;
  LogitsOptions logits_;
  TokenizeOptions tokenize_;
  ChatOptions encode_, decode_;
  BenchOptions bench_;
  SliceOptions slice_;
  EvalOptions eval_;
  SessionOptions session_;
  std::string shell_;
};

int usage_error(const std::string& sentence) { return report(Error{ErrorCode::kUsage, sentence}); }

// The deepest command that the leading words name, and how many words that took.
std::pair<const CommandInfo*, int> named_command(const CommandInfo& tree, int argc, char** argv) {
  const CommandInfo* at = &tree;
  int i = 1;
  while (i < argc) {
    const CommandInfo* next = at->find(argv[i]);
    if (!next) break;
    at = next;
    ++i;
  }
  return {at, i};
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string near = nearest(word, candidates);
  return near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
}

int unknown_command(const CommandInfo& command, const std::string& word) {
  std::vector<std::string> names;
  for (const auto& sub : command.subcommands) names.push_back(sub.name());
  const std::string hint = suggestion(word, names);
  return usage_error(
      fmt::format("'{}' is not a command of '{}'{}", word, command.path,
                  hint.empty() ? fmt::format("; 'hadal help{}' lists them", command.path.substr(5)) : hint));
}

// What the parser refused, as one sentence that says where to look.
int parse_failure(const CLI::ParseError& error, const CommandInfo& command, int argc, char** argv) {
  const bool unexpected = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  for (int i = 1; i < argc; ++i) {  // an unknown option deserves a suggestion; the parser only calls it unexpected
    const std::string word = argv[i];
    if (word == "--") break;
    if (!word.starts_with("--")) continue;
    const std::string name = word.substr(0, word.find('='));
    std::vector<std::string> names;
    for (const auto& o : command.options) names.insert(names.end(), o.names.begin(), o.names.end());
    if (std::find(names.begin(), names.end(), name) == names.end() && (unexpected || !command.subcommands.empty())) {
      const std::string hint = suggestion(name, names);
      return usage_error(
          fmt::format("'{}' has no option '{}'{}", command.path, name,
                      hint.empty() ? fmt::format("; see 'hadal help{}'", command.path.substr(5)) : hint));
    }
  }
  std::string what = error.what();
  while (!what.empty() && (what.back() == '\n' || what.back() == ' ' || what.back() == '.')) what.pop_back();
  for (char& c : what) {
    if (c == '\n') c = ' ';
  }
  if (!what.empty()) what[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(what[0])));
  return usage_error(fmt::format("'{}': {}; see 'hadal help{}'", command.path, what, command.path.substr(5)));
}

}  // namespace

CommandInfo command_tree() { return CommandLine().tree(); }

int dispatch(int argc, char** argv) {
  CommandLine line;
  const CommandInfo tree = line.tree();
  if (argc > 1 && std::string_view(argv[1]) == "help") {
    const bool itself = argc == 3 && (std::string_view(argv[2]) == "help" || std::string_view(argv[2]) == "--help");
    if (itself) argc = 2;
    auto [command, used] = named_command(tree, argc - 1, argv + 1);
    if (used < argc - 1) return unknown_command(*command, argv[used + 1]);
    fmt::print("{}", manual_page(*command));
    return 0;
  }
  auto [command, used] = named_command(tree, argc, argv);
  if (!command->subcommands.empty()) {
    if (used == argc) {
      return usage_error(
          fmt::format("'{}' needs a command; 'hadal help{}' lists them", command->path, command->path.substr(5)));
    }
    if (argv[used][0] != '-') return unknown_command(*command, argv[used]);
  }
  try {
    line.app().parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", manual_page(*command));
    return 0;
  } catch (const CLI::CallForVersion& version) {
    fmt::print("{}\n", version.what());
    return 0;
  } catch (const CLI::ParseError& error) {
    return parse_failure(error, *command, argc, argv);
  }
  return line.run();
}

}  // namespace hadal::cli
