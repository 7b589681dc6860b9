// What the command line was asked to do, one plain struct per command. commands_<subject>.cc fill them,
// cmd_<name>.cc run them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hadal::cli {

// --expert-memory: bytes; or "auto", all if they fit; or "all". The values of ExpertPlacement.
constexpr std::int64_t kExpertsAuto = -1, kExpertsAll = INT64_MAX;

struct RunOptions {
  std::string model;                  // directory; empty: the embedded nano model
  std::optional<std::string> prompt;  // -p; absent: interactive chat
  std::string prompt_file;            // --file: text put before the prompt, as a document
  std::string tools_file;             // --tools: JSON list of tool schemas
  std::string system;                 // --system
  std::string think = "none";         // none, high, max
  std::optional<double> temperature, top_p, min_p;
  std::optional<std::int64_t> top_k;
  std::optional<std::uint64_t> seed;
  std::int64_t max_tokens = -1;  // -n; -1: until the model stops or the context is full
  std::string numerics = "trained";
  std::string format;  // --format preview|0731: overrides the detected generation
  int threads = 0;
  std::int64_t context = 0;  // 0: the model's maximum
  bool json = false;
  bool quiet = false;  // no statistics line
  bool raw = false;    // prompt is token text as is, no template
  std::int64_t expert_memory = kExpertsAuto;
  std::string repack_cache;  // directory; empty: none
};

constexpr int kDefaultPort = 8420;  // of the server; registered for nothing else

struct ServeOptions {
  std::string model;               // directory; empty: the embedded nano model
  std::string model_name;          // what clients see; empty: the directory's name
  std::string host = "127.0.0.1";  // --host
  int port = -1;                   // --port; -1: kDefaultPort, or none with --unix
  std::string unix_path;           // --unix
  std::string key_file;            // --api-key-file
  std::string data;                // --data: folder of durable sessions
  std::string ready_file;          // --ready-file: gets the base URL
  std::string trace_file;          // --trace
  std::string rewrite_file;        // --rewrite
  std::string numerics = "trained";
  std::string format;  // overrides the detected generation
  int threads = 0;
  std::int64_t running = 16, waiting = 64;  // jobs
  std::int64_t max_body = std::int64_t{64} << 20;
  std::int64_t cache_memory = 0;                     // bytes for kept prefixes; 0: chosen
  std::int64_t cache_disk = std::int64_t{64} << 30;  // the same, of their files
  std::string cache_windows = "auto";                // auto, full, none, or tokens between two state blocks
  bool strict = false;
  std::int64_t expert_memory = kExpertsAuto;
  std::string repack_cache;
};

struct InspectOptions {
  std::string directory;
  bool json = false, verify = false, tensors = false;
};

struct LogitsOptions {
  std::string model, ids, out;
  std::string numerics = "trained";
  std::string rope_table;
  std::vector<std::int64_t> chunks;
  int threads = 0;
  bool round_inputs = false, no_round_cache = false, mtp = false;
  std::int64_t expert_memory = kExpertsAuto;
  std::string repack_cache;  // directory; empty: none
};

struct TokenizeOptions {
  std::string model;
  bool literal = false, decode = false;
};

struct ChatOptions {
  bool lenient = false;
};

struct PlanOptions {
  std::string model;  // a directory, or flash, pro, v3.2, gqa8
  std::int64_t context = 1048576;
  std::vector<std::string> plots;  // .svg and .png files of work and cache against context
  int threads = 0;
  std::int64_t expert_memory = kExpertsAuto;
  bool quick = false;  // nothing timed but bandwidth and instructions
  bool json = false;
};

struct BenchOptions {
  std::string model;
  int threads = 0;
  std::vector<std::int64_t> depths = {8192};  // tokens of context
  double seconds = 2;                         // of measuring per row
  std::vector<std::string> plots;             // .svg and .png files; depth only
  bool json = false;
  std::int64_t expert_memory = kExpertsAuto;
  std::string repack_cache;  // directory; empty: none
};

struct SliceOptions {
  std::string of = "flash";  // whose layers
  std::string out;
  std::int64_t layers = 4, experts = 16, vocabulary = 8192;
  std::int64_t seed = 1;
  std::int64_t shard_mib = 3500;
  bool mtp = false;
};

struct EvalOptions {
  std::string file;  // cases, one JSON object per line (eval/cases.h)
  std::string model;
  std::string numerics = "trained";
  std::string kind;         // only cases of this kind
  std::int64_t limit = -1;  // only so many
  int threads = 0;
  bool failures = false;  // print what was expected and what came
  bool json = false;
};

struct SessionOptions {
  std::string data;           // --data; empty: the user's data folder
  std::string model;          // whose sessions; empty: the embedded nano model
  std::string session;        // an id, or the beginning of one
  std::string file;           // export, import
  std::string as;             // id of the new session
  std::int64_t branch = -1;   // -1: the live one
  std::int64_t at = -1;       // tokens; -1: all
  std::int64_t a = 0, b = 0;  // diff: two branches
  std::string api = "chat";   // explain-miss: whose request the file holds
  std::string format;         // explain-miss: overrides the detected generation
  int threads = 0;
  bool ids = false, full = false, any_model = false, intact = false, json = false;
};

struct SandboxOptions {
  std::string data;  // folder of the edge; empty: the system's
  std::string sandbox, image, job, user, cwd;
  std::string from, to;             // cp; from also: layer import
  std::string workspace, toolkits;  // create; toolkits separated by commas
  std::string layer, name, kind;    // layer ..., pack-diff
  std::vector<std::string> words;   // exec, shell
  bool shell_line = false;          // exec -c: the one word is a line for /bin/sh
  bool read_input = false;
  double cpus = -1, timeout_s = -1, idle_s = -1, life_s = -1;  // -1: the edge's default
  std::int64_t memory_mb = -1, pids = -1;
  std::int64_t most = 0;   // up: sandboxes at a time; 0: the default
  std::int64_t count = 0;  // bench: times per row; 0: the default
  bool json = false;
};

// Each returns the exit status and prints its own errors (cli/report.h).
int run_run(const RunOptions&);
int run_serve(const ServeOptions&);
int run_inspect(const InspectOptions&);
int run_logits(const LogitsOptions&);
int run_tokenize(const TokenizeOptions&);
int run_chat_encode(const ChatOptions&);
int run_chat_decode(const ChatOptions&);
int run_plan(const PlanOptions&);
int run_bench_kernels(const BenchOptions&);
int run_bench_model(const BenchOptions&, const std::string& what);  // decode, prefill, depth, load, restore or sessions
int run_bench_slice(const SliceOptions&);
int run_eval_cases(const EvalOptions&);
int run_session(const SessionOptions&, const std::string& what);  // list, show, fork and so on
int run_explain_miss(const SessionOptions&);
int run_sandbox(const SandboxOptions&, const std::string& what);        // create, ls, exec and so on
int run_sandbox_layer(const SandboxOptions&, const std::string& what);  // import, ls, show, verify, rm, pack-diff
int run_sandbox_up(const SandboxOptions&);
int run_sandbox_doctor(const SandboxOptions&);
int run_sandbox_bench(const SandboxOptions&);
int run_completion(const std::string& shell);

}  // namespace hadal::cli
