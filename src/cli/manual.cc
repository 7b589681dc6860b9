// Manual pages: the prose of each command, and how a page is laid out.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cli/command_info.h"

namespace hadal::cli {
namespace {

struct Example {
  std::string_view command, meaning;
};

struct Prose {
  std::string_view path, description;
  std::vector<Example> examples;
};

const std::vector<Prose>& prose() {
  static const std::vector<Prose> pages = {
      {"hadal",
       "hadal runs DeepSeek-V4 checkpoints as released, without conversion, on the processors of this machine. Models "
       "are named by their "
       "directory; without --model the small model that is part of the program is used. It is a demonstration: it "
       "copies, calls tools and "
       "finds things in long text, and knows almost nothing about the world.",
       {{"hadal run", "chat with the embedded model"},
        {"hadal plan", "what the large models need, and whether they fit here"},
        {"hadal help run", "everything about one command"}}},
      {"hadal run",
       "Answers one prompt, or starts a chat when -p is absent. The answer is printed as it is generated; reasoning "
       "goes to stderr. "
       "Sampling follows the model's generation_config.json unless told otherwise. A token is drawn from (seed, "
       "position) alone, so with --seed the same command gives the same answer whatever else the machine does; "
       "without, every run draws anew. A checkpoint larger than memory runs with its routed experts on disk: "
       "--expert-memory says how much memory they get, and the tokens are the same whatever it says. The statistics "
       "line then tells how many experts were in memory when they were needed.",
       {{"hadal run -p 'Say hello.'", "one answer from the embedded model"},
        {"hadal run --file notes.txt -p 'What is the code of Anna?'", "a question about a document"},
        {"hadal run --tools tools.json -p 'What is the weather in Oslo?' --json", "the tool call as JSON"},
        {"hadal run --model ~/DeepSeek-V4-Flash --think high --seed 7", "a reasoning chat with a release"},
        {"hadal run --model ~/DeepSeek-V4-Flash --expert-memory 12G", "the same on a machine of 24 GB"}}},
      {"hadal serve",
       "Serves one model over HTTP: OpenAI's Chat Completions, Completions and Responses, Anthropic's Messages, "
       "streaming or not, with tools and reasoning. It listens on this machine only; another --host is refused without "
       "--api-key-file, and TLS is left to a proxy. SIGTERM and Ctrl-C take no new requests, stop running ones at a "
       "token and leave. Log lines are shown with HADAL_LOG=info. docs/http.md describes endpoints, fields and "
       "headers.",
       {{"hadal serve", "the embedded model at http://127.0.0.1:8420/v1"},
        {"hadal serve --model ~/DeepSeek-V4-Flash --data ~/sessions", "a release, with sessions that survive restarts"},
        {"hadal serve --unix /run/user/1000/hadal.sock", "a socket instead of a port"},
        {"hadal serve --host 0.0.0.0 --api-key-file keys", "for other machines; one key a line, chmod 600"}}},
      {"hadal plan",
       "Says what a model costs before anything is loaded: weight bytes by class, parameters, cache bytes per token "
       "under four ways of "
       "counting, floating-point operations per token, all compared with DeepSeek-V3.2 and with grouped-query "
       "attention of 8 heads; then "
       "whether it fits in the memory that is available here, how many sessions of the given length fit beside it, and "
       "the limit that "
       "memory and arithmetic set to decoding. For one model it then times a few of its layers with made-up weights, "
       "and the disk its shards are on, for about ten seconds, and says how fast it would run at several depths, "
       "where its weights would go and with which command to run it; --quick leaves that out. MODEL is a checkpoint "
       "directory, whose shard headers are read, or a "
       "name: nano, flash, "
       "flash-base, pro, pro-base, v3.2, gqa8. Without it five of them are compared and nothing is timed.",
       {{"hadal plan", "compare the published models"},
        {"hadal plan --model flash --context 131072", "V4-Flash with 128 Ki tokens"},
        {"hadal plan --model flash --plot flash.svg", "work and cache from 8K to 1M tokens, beside V3.2 and GQA-8"},
        {"hadal plan --model ~/DeepSeek-V4-Flash --json", "a directory, for scripts"}}},
      {"hadal inspect",
       "Compares a checkpoint directory with the tensor table of its configuration: what is stored, in which number "
       "format, what is "
       "missing or beyond the table, which generation of the chat format it speaks, and whether tokenizer.json and "
       "generation_config.json can be used. Of the weights only headers are read, unless "
       "--verify is given.",
       {{"hadal inspect ~/DeepSeek-V4-Flash", "a summary"},
        {"hadal inspect ~/DeepSeek-V4-Flash --verify", "read and check every value"}}},
      {"hadal logits",
       "Feeds a list of token ids and writes the logits of every position, for comparison with other implementations. "
       "FILE is a JSON list "
       "of ids; the output holds 'logits' F32 [tokens, vocabulary], and with --mtp also 'mtp' F32 [tokens - 1, "
       "vocabulary]. Any --chunks "
       "and --threads give the same bits.",
       {{"hadal logits --ids ids.json --out logits.safetensors", "the embedded model"},
        {"hadal logits --model tiny --ids ids.json --out out.safetensors --numerics reference --round-inputs",
         "the official program's arithmetic, in double precision"}}},
      {"hadal tokenize",
       "Reads JSON lines and writes JSON lines: a string in, its list of token ids out. With --decode a list of ids "
       "in, and out comes "
       "{\"deltas\": [...], \"tail\": \"...\"}: the pieces a streaming decoder emits, and what it still held at the "
       "end.",
       {{"echo '\"Hello\"' | hadal tokenize", "ids of the embedded model"},
        {"echo '[5, 6, 7]' | hadal tokenize --decode --model ~/DeepSeek-V4-Flash", "text of ids"}}},
      {"hadal chat", "The chat codec by itself: messages to prompt text, and completion text to messages.", {}},
      {"hadal chat encode",
       "Reads JSON lines, one case each (encoder, options, messages, context), and writes {\"prompt\": ...} or "
       "{\"error\": NAME}.",
       {{"hadal chat encode < cases.jsonl", "prompts for many conversations"}}},
      {"hadal chat decode",
       "Reads JSON lines, one case each (completion, options), and writes {\"message\": ...} or {\"error\": NAME}. "
       "With --lenient the parser "
       "that serves users is used: it never fails, and says what it ignored.",
       {{"hadal chat decode < completions.jsonl", "by the definition: what breaks the format is an error"},
        {"hadal chat decode --lenient < completions.jsonl", "what can be made of it"}}},
      {"hadal bench",
       "Speeds as shares of what the machine allows, both measured in the same run: a share can be compared between "
       "machines, a rate cannot.",
       {}},
      {"hadal bench kernels",
       "Measures the arithmetic kernels of every instruction set this machine has and prints each rate beside the "
       "limit that memory or instructions set. Rates count the CPU time of the measuring threads, so other load on the "
       "machine does not distort them.",
       {{"hadal bench kernels --threads 1", "one thread"}, {"hadal bench kernels --json", "all cores, for scripts"}}},
      {"hadal bench decode",
       "Time of one token after a context of the given depths, the median of many, and what reading the weights and "
       "the cache, or computing with them, would allow the same threads at best, measured in turns with it. The "
       "context is made of copies of one page, so that a "
       "million tokens need memory but no hours.",
       {{"hadal bench decode", "the embedded model at 8,192 tokens"},
        {"hadal bench decode --model slice --depths 8192,131072,1048576", "three depths"}}},
      {"hadal bench prefill",
       "Tokens per second of a prefill step after a context of the given depths, beside what arithmetic allows.",
       {{"hadal bench prefill --depths 1024,131072", "near the start and far from it"}}},
      {"hadal bench depth",
       "Decoding, prefill and cache bytes at 8,192, 131,072 and 1,048,576 tokens. Depths that do not fit in memory end "
       "the table with a sentence that says so.",
       {{"hadal bench depth --json", "for scripts"},
        {"hadal bench depth --plot depth.svg --plot depth.png", "drawn, beside what V3.2 and GQA-8 would hold"}}},
      {"hadal bench load",
       "How fast a checkpoint becomes ready: bytes of packed weights per second, beside half of what memory reads, "
       "since every byte is read once and written once.",
       {{"hadal bench load --model ~/DeepSeek-V4-Flash", "a release"}}},
      {"hadal bench restore",
       "Keeps a session of the given depths in files of the temporary directory, forgets it, and finds it again as "
       "after "
       "a restart, with every check; beside plain reads of the same files by as many threads. Both come from the disk, "
       "not from the page cache.",
       {{"hadal bench restore --depths 131072", "a long session"}}},
      {"hadal bench sessions",
       "fork: how many a second, beside copies of the state block at the speed of memory. warm: first tokens a second "
       "after a prompt that was read before, beside the decode steps of one session. decode_16: tokens a second of "
       "sixteen sessions in one step, beside sixteen times that of one.",
       {{"hadal bench sessions --model slice --depths 8192,131072", "two depths"}}},
      {"hadal bench slice",
       "Writes a checkpoint in the release layout with the exact layer sizes of V4-Flash or V4-Pro but few layers, few "
       "experts and a small vocabulary; the weights are random and mean nothing. It stands in for a release where none "
       "is at hand: for benchmarks, and for trying what a machine can do.",
       {{"hadal bench slice /tmp/slice", "four layers of Flash with 16 experts, about 1.5 GB"},
        {"hadal bench slice /tmp/pro --of pro --layers 3 --experts 8", "three layers of Pro"}}},
      {"hadal eval", "Evidence: what a model answers, scored against what is right.", {}},
      {"hadal eval cases",
       "Answers prompts that have one right answer, greedily, and counts how many came out exactly. FILE holds one "
       "JSON object per line with "
       "id, kind, prompt and expected.",
       {{"hadal eval cases cases.jsonl", "scores by kind"},
        {"hadal eval cases cases.jsonl --kind call --failures", "one kind, with what went wrong"}}},
      {"hadal sandbox",
       "A sandbox runs commands nobody has read, as a container without network beside the host. One process per "
       "machine, the edge, holds them; commands, files and shells go through it.",
       {}},
      {"hadal sandbox doctor",
       "Tries what sandboxes need - namespaces, overlay, cgroups, crun, KVM and so on - and says what is there, what "
       "is "
       "missing, what follows from that, and the remedy. Nothing tried stays behind.",
       {{"hadal sandbox doctor", "a table"}, {"hadal sandbox doctor --json", "for scripts"}}},
      {"hadal sandbox up",
       "Serves the sandboxes of this machine at a Unix socket in its data folder, as HTTP and JSON. Sandboxes outlive "
       "it: the next one finds them again, with the commands that were running. Needs root.",
       {{"hadal sandbox up", "until Ctrl-C"}, {"hadal sandbox up --data /tmp/boxes", "with a folder of its own"}}},
      {"hadal sandbox create",
       "Makes a container over a directory, which stays as it is: what the sandbox writes goes elsewhere and is gone "
       "with it.",
       {{"hadal sandbox create --image ./debian", "one processor, 2 GiB, paused after 5 minutes without a call"},
        {"hadal sandbox create --image ./debian --memory-mb 512 --job step-17", "smaller, one of a group"}}},
      {"hadal sandbox ls",
       "Lists sandboxes with their states and what they use.",
       {{"hadal sandbox ls", "all of them"}, {"hadal sandbox ls --job step-17 --json", "a group, for scripts"}}},
      {"hadal sandbox exec",
       "Runs a command and prints what it said. Output beyond a MiB per stream is cut in the middle and the cut is "
       "reported. After the time limit everything the command started is killed; the status is then 124.",
       {{"hadal sandbox exec ID -- ls -l /", "a program"},
        {"hadal sandbox exec ID -c 'cd /tmp && make 2>&1 | tail'", "a line for the sandbox's shell"},
        {"hadal sandbox exec ID -i -- wc -l < file", "with input"}}},
      {"hadal sandbox shell",
       "Opens a terminal in a sandbox and runs a shell, or the command given.",
       {{"hadal sandbox shell ID", "/bin/sh"}, {"hadal sandbox shell ID -- /bin/bash -l", "another"}}},
      {"hadal sandbox cp",
       "Copies one file of at most 64 MiB. Inside, a path cannot lead out of the sandbox, whatever links are there; a "
       "file that is replaced is replaced at once.",
       {{"hadal sandbox cp data.csv ID:/tmp/data.csv", "in"}, {"hadal sandbox cp ID:/tmp/result.json .", "out"}}},
      {"hadal sandbox pause",
       "Freezes a sandbox and gives its caches back to the host. Any call to it lets it go on.",
       {{"hadal sandbox pause ID", "until the next call"}}},
      {"hadal sandbox resume", "Lets a paused sandbox go on.", {{"hadal sandbox resume ID", "at once"}}},
      {"hadal sandbox rm",
       "Kills everything in a sandbox and removes what it wrote.",
       {{"hadal sandbox rm ID", "for good"}}},
      {"hadal sandbox bench",
       "Starts an edge of its own in the temporary directory, makes sandboxes and runs commands in them, and prints "
       "medians and 99th percentiles of what a client waits for.",
       {{"hadal sandbox bench", "a table"}, {"hadal sandbox bench --json", "for scripts"}}},
      {"hadal session",
       "A session is a log of tokens: what was asked, what was sampled and how, where it was rewound and which jobs "
       "ran. "
       "Everything else is made from it, so these commands need no server; one that runs keeps the sessions it is "
       "working on to itself, and they can be looked at but not changed.",
       {}},
      {"hadal session list",
       "Lists the sessions of the data folder: id, tokens, branches, when it was changed, and whether it belongs to "
       "the "
       "model. A log that cannot be read is listed with the reason.",
       {{"hadal session list", "what there is"}, {"hadal session list --json", "for scripts"}}},
      {"hadal session show",
       "Prints a session's tokens as text, stretch by stretch: prompt, sampled by the model, or spliced in (the end of "
       "a "
       "thinking budget, say). Long stretches are folded. The text needs the tokenizer of the session's model; --ids "
       "does without.",
       {{"hadal session show 3f2a", "by the beginning of its id"},
        {"hadal session show 3f2a --full --json", "every token with its probability"}}},
      {"hadal session branches",
       "A rewind starts a branch and leaves the old one readable. Lists every branch with its parent, the tokens it "
       "shares with it, and its length.",
       {{"hadal session branches 3f2a", "all of them; the live one is marked"}}},
      {"hadal session diff",
       "Says how many tokens two branches of a session share and prints what follows in each.",
       {{"hadal session diff 3f2a 0 1", "the first branch and the one after a rewind"}}},
      {"hadal session fork",
       "Makes a session of its own from the first tokens of a branch, with their origins, probabilities and marks. "
       "The new log does not depend on the old one. Prints its id.",
       {{"hadal session fork 3f2a --at 1200", "from a token on, another way"}}},
      {"hadal session rewind",
       "Goes back to the first tokens of the live branch, or of another one, as a new branch. Nothing is lost: the old "
       "branch stays and can be returned to.",
       {{"hadal session rewind 3f2a 1200", "forget what came after"},
        {"hadal session rewind 3f2a 1500 --branch 0", "return to the first branch"}}},
      {"hadal session export",
       "Writes a session into one file, every byte checked, and reads it back. The file can be imported on another "
       "machine that has the same model.",
       {{"hadal session export 3f2a talk.hadal", "to keep or to move"},
        {"hadal session export 3f2a rest.hadal --intact", "what can be saved of a damaged one"}}},
      {"hadal session import",
       "Checks a file and keeps it as a session. One that was made with other weights or numerics is refused unless "
       "--any-model is given; its cache is then made again from the tokens. One of another tokenizer is always "
       "refused.",
       {{"hadal session import talk.hadal", "under its own id"},
        {"hadal session import talk.hadal --as copy", "under another"}}},
      {"hadal session verify",
       "Feeds a branch to the model in the session's arithmetic and draws every sampled token again, with the recorded "
       "seed and parameters. Tokens and probabilities must come out exactly; otherwise the first difference is named "
       "and the exit status is 1.",
       {{"hadal session verify 3f2a", "with the embedded model"},
        {"hadal session verify 3f2a --model ~/DeepSeek-V4-Flash", "with a release"}}},
      {"hadal session remove",
       "Deletes a session's log. There is no way back but an export.",
       {{"hadal session remove 3f2a", "its whole past"}}},
      {"hadal completion",
       "Prints a script that completes hadal's commands, options and values in a shell.",
       {{"source <(hadal completion bash)", "in this shell"},
        {"hadal completion bash > ~/.local/share/bash-completion/completions/hadal", "in every new shell"}}},
  };
  return pages;
}

constexpr std::size_t kWidth = 80;

// Appends words to `out`, broken so that no line passes kWidth; continuation lines start at `indent`.
void wrap(std::string& out, std::string_view text, std::size_t indent, std::size_t column) {
  std::size_t at = 0;
  bool first = true;
  while (at < text.size()) {
    std::size_t end = text.find(' ', at);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view word = text.substr(at, end - at);
    if (!first && column + 1 + word.size() > kWidth) {
      out += '\n';
      out.append(indent, ' ');
      column = indent;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    first = false;
    at = end + 1;
  }
  out += '\n';
}

void section(std::string& out, std::string_view title) { out += fmt::format("\n{}\n", title); }

std::string option_head(const OptionInfo& o) {
  std::string head;
  for (const auto& name : o.names) head += (head.empty() ? "" : ", ") + name;
  if (o.value.empty() || o.positional) return head;
  return head + " " +
         (o.choices.empty() || o.value == "MODEL" ? o.value : fmt::format("{}", fmt::join(o.choices, "|")));
}

void add_option(std::string& out, const OptionInfo& o) {
  constexpr std::size_t kHelpColumn = 24;
  std::string head = "  " + option_head(o);
  if (head.size() + 2 > kHelpColumn) {
    out += head + "\n" + std::string(kHelpColumn, ' ');
  } else {
    out += head + std::string(kHelpColumn - head.size(), ' ');
  }
  std::string help = o.help;
  if ((o.positional || o.value == "MODEL") && !o.choices.empty())
    help += fmt::format(": {}", fmt::join(o.choices, ", "));
  if (o.required && !o.positional) help += " (required)";
  if (!o.default_text.empty()) help += fmt::format(" (default: {})", o.default_text);
  wrap(out, help, kHelpColumn, kHelpColumn);
}

std::string usage(const CommandInfo& c) {
  std::string line = "  " + c.path;
  if (!c.subcommands.empty()) return line + " COMMAND [OPTIONS]\n";
  for (const auto& o : c.options) {
    if (o.required && !o.positional) line += fmt::format(" {} {}", o.names.back(), o.value);
  }
  line += " [OPTIONS]";
  for (const auto& o : c.options) {
    if (o.positional) line += o.required ? " " + o.names[0] : fmt::format(" [{}]", o.names[0]);
  }
  return line + "\n";
}

}  // namespace

const CommandInfo* CommandInfo::find(std::string_view subcommand) const {
  for (const auto& c : subcommands) {
    if (c.name() == subcommand) return &c;
  }
  return nullptr;
}

std::string manual_page(const CommandInfo& c) {
  std::string out = fmt::format("{} - ", c.path);
  wrap(out, c.summary, 4, out.size());
  section(out, "Usage");
  out += usage(c);

  const auto& pages = prose();
  const auto page = std::find_if(pages.begin(), pages.end(), [&](const Prose& p) { return p.path == c.path; });
  if (page != pages.end()) {
    section(out, "Description");
    out += "  ";
    wrap(out, page->description, 2, 2);
  }
  if (!c.subcommands.empty()) {
    section(out, "Commands");
    for (const auto& sub : c.subcommands) {
      const std::string head = fmt::format("  {:<14}", sub.name());
      out += head;
      wrap(out, sub.summary, 16, head.size());
    }
  }
  if (std::any_of(c.options.begin(), c.options.end(), [](const auto& o) { return o.positional; })) {
    section(out, "Arguments");
    for (const auto& o : c.options) {
      if (o.positional) add_option(out, o);
    }
  }
  section(out, "Options");
  for (const auto& o : c.options) {
    if (!o.positional) add_option(out, o);
  }
  if (page != pages.end() && !page->examples.empty()) {
    section(out, "Examples");
    for (const auto& e : page->examples) out += fmt::format("  {}\n      {}\n", e.command, e.meaning);
  }
  section(out, "Exit status");
  out += "  0 done; 1 the work failed or Ctrl-C stopped it; 2 wrong usage or unusable\n  input.\n";
  if (c.path == "hadal") {
    section(out, "Environment");
    out +=
        "  HADAL_LOG   what is logged on stderr: error, warn (default), info, debug\n"
        "  HADAL_ISA   instruction set of the kernels: scalar, avx2, avx512 (default:\n"
        "              the best this machine has; results are the same)\n";
  }
  return out;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = word.size() < 5 ? 2 : 3;  // slips: one letter in a short word, two in a long one
  for (const auto& candidate : candidates) {
    // Edit distance with swapped neighbours counting 1.
    const std::size_t n = word.size(), m = candidate.size();
    std::vector<std::vector<std::size_t>> d(n + 1, std::vector<std::size_t>(m + 1));
    for (std::size_t i = 0; i <= n; ++i) d[i][0] = i;
    for (std::size_t j = 0; j <= m; ++j) d[0][j] = j;
    for (std::size_t i = 1; i <= n; ++i) {
      for (std::size_t j = 1; j <= m; ++j) {
        d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (word[i - 1] != candidate[j - 1])});
        if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] && word[i - 2] == candidate[j - 1]) {
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    if (d[n][m] < best_distance) {
      best_distance = d[n][m];
      best = candidate;
    }
  }
  return best;
}

}  // namespace hadal::cli
