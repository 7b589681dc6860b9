// hadal run: one prompt, or an interactive chat.
#include <fmt/core.h>
#include <histedit.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "chat/codec.h"
#include "chat/lenient_parser.h"
#include "cli/conversation.h"
#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/report.h"
#include "machine/probe.h"
#include "plan/engine_memory.h"
#include "sessions/engine.h"
#include "sessions/generate.h"
#include "weights/arena.h"

namespace hadal::cli {
namespace {

// Prints a turn while it is generated: the answer and calls on stdout, reasoning on stderr, dimmed where a person
// looks.
class TurnPrinter {
 public:
  explicit TurnPrinter(bool silent) : silent_(silent), dim_(isatty(2) == 1) {}

  void add(const std::vector<chat::Event>& events) {
    turn_.add(events);
    if (silent_) return;
    for (const chat::Event& e : events) {
      if (e.kind == chat::Event::Kind::kReasoning) {
        note("{}{}{}", dim_ ? "\033[2m" : "", e.text, dim_ ? "\033[0m" : "");
        reasoning_open_ = true;
      } else if (e.kind == chat::Event::Kind::kContent) {
        end_reasoning();
        std::fputs(e.text.c_str(), stdout);
        std::fflush(stdout);
        any_ = true;
      } else if (e.kind == chat::Event::Kind::kCallClosed) {
        end_reasoning();
        const auto& call = turn_.calls[static_cast<std::size_t>(e.call)];
        fmt::print("{}call {} {}", any_ ? "\n" : "", call.name, call.arguments);
        std::fflush(stdout);
        any_ = true;
      }
    }
  }
  void finish() {
    if (silent_) return;
    end_reasoning();
    if (any_) std::fputc('\n', stdout);
    std::fflush(stdout);
  }
  const chat::ParsedTurn& turn() const { return turn_; }

 private:
  void end_reasoning() {
    if (reasoning_open_) std::fputc('\n', stderr);
    reasoning_open_ = false;
  }
  bool silent_, dim_, reasoning_open_ = false, any_ = false;
  chat::ParsedTurn turn_;
};

struct Turn {
  GenerateResult generated;
  chat::ParsedTurn parsed;
  std::string raw;  // text of all sampled tokens, markers included
};

class Runner {
 public:
  Runner(const RunOptions& options, Engine engine) : options_(options), engine_(std::move(engine)) {}

  Status start() {
    timeline_ = HADAL_TRY(engine_.new_timeline());
    sampling_ = engine_.default_sampling();
    if (options_.temperature) sampling_.temperature = *options_.temperature;
    if (options_.top_p) sampling_.top_p = *options_.top_p;
    if (options_.top_k) sampling_.top_k = *options_.top_k;
    if (options_.min_p) sampling_.min_p = *options_.min_p;
    sampling_.seed = options_.seed
                         ? *options_.seed
                         : static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
    HADAL_CHECK_OK(check_sampling(sampling_));
    if (options_.context > timeline_->config().max_position_embeddings)
      return fail(ErrorCode::kUsage, "--context {} is more than the {} tokens that this model was made for",
                  options_.context, timeline_->config().max_position_embeddings);
    return check_memory(options_.context, "lower --context");
  }

  // A session of `tokens` tokens against the memory that is free; pages would be asked for one by one until the system
  // ends the process.
  Status check_memory(std::int64_t tokens, std::string_view remedy) const {
    if (!engine_.model) return {};
    const Checkpoint& c = *engine_.checkpoint;
    const auto memory = engine_memory(c.config(), c.table(), c.has_mtp(), stored_dtypes(c));
    const std::int64_t more = memory.session_bytes(tokens) - timeline_->memory_bytes();
    const std::int64_t available = available_memory_bytes();
    if (available < 0 || more <= available) return {};
    return fail(ErrorCode::kUsage, "a context of {} tokens takes {:.1f} GB, {:.1f} GB are free; {}", tokens,
                static_cast<double>(more) * 1e-9, static_cast<double>(available) * 1e-9, remedy);
  }

  // Brings the timeline to `prompt` (keeping what it shares with the past) and generates.
  Result<Turn> answer(const std::vector<TokenId>& prompt, const chat::LenientOptions& reading, bool raw) {
    std::int64_t limit = options_.context > 0 ? options_.context : timeline_->config().max_position_embeddings;
    if (static_cast<std::int64_t>(prompt.size()) > limit)
      return fail(ErrorCode::kUsage, "the prompt has {} tokens, the context is {}; shorten it or raise --context",
                  prompt.size(), limit);
    HADAL_CHECK_OK(check_memory(static_cast<std::int64_t>(prompt.size()), "shorten the prompt"));
    std::span<const TokenId> past = timeline_->tokens();
    std::size_t shared = 0;
    while (shared < past.size() && shared + 1 < prompt.size() && past[shared] == prompt[shared]) ++shared;
    HADAL_CHECK_OK(timeline_->rewind(static_cast<Position>(shared)));

    Turn out;
    TurnPrinter printer(options_.json);
    chat::LenientParser parser(reading);
    StreamDecoder decoder(*engine_.tokenizer);
    Progress progress("reading", "tokens", static_cast<std::int64_t>(prompt.size() - shared));
    Status decoded;
    GenerateHooks hooks;
    hooks.on_prefill = [&](std::int64_t done, std::int64_t total) {
      if (done < total)
        progress.update(done);
      else
        progress.finish();
      return !interrupted();
    };
    hooks.on_token = [&](const Sampled& token) {
      bool stop = is_stop(sampling_, token.id);
      std::string text;
      if (stop) {
        decoder.finish(text);
      } else {
        decoded = decoder.push(token.id, text);
        if (!decoded) return false;
      }
      out.raw += text;
      if (raw) {
        if (!options_.json) {
          std::fputs(text.c_str(), stdout);
          std::fflush(stdout);
        }
      } else {
        printer.add(parser.push(text, !stop && engine_.tokenizer->is_added(token.id)));
      }
      return !interrupted();
    };
    GenerateOptions generate_options;
    generate_options.sampling = sampling_;
    generate_options.max_tokens = std::min(limit - static_cast<std::int64_t>(prompt.size()),
                                           options_.max_tokens < 0 ? INT64_MAX : options_.max_tokens);
    out.generated = HADAL_TRY(generate(*timeline_, std::span(prompt).subspan(shared), generate_options, hooks));
    HADAL_CHECK_OK(decoded);
    if (!raw) {
      printer.add(parser.finish());
      printer.finish();
      out.parsed = printer.turn();
    } else if (!options_.json) {
      std::fputc('\n', stdout);
    }
    return out;
  }

  // Tokens per second, and the share of a plain read of the weights that decoding reached.
  void print_statistics(const GenerateResult& g) {
    if (options_.quiet || options_.json) return;
    std::string line =
        fmt::format("[read {} tokens in {:.2f} s, {:.0f}/s; wrote {} in {:.2f} s, {:.1f}/s", g.prompt_tokens,
                    g.prefill_seconds, g.prefill_rate(), g.tokens.size(), g.decode_seconds, g.decode_rate());
    if (engine_.model) {
      double rate = static_cast<double>(decode_weight_bytes(engine_.model->weights())) * g.decode_rate();
      double limit = bandwidth();
      line += fmt::format(" = {:.2f} GB/s of weights, {:.0f}% of the {:.1f} GB/s that a plain read of them reaches",
                          rate / 1e9, 100 * rate / limit, limit / 1e9);
    }
    if (const ExpertStats* e = engine_.model ? engine_.model->expert_stats() : nullptr)
      line += fmt::format(
          "; {:.0f}% of {} experts in memory, {:.0f}% prefetched, {:.2f} GB read by {}, {:.2f} s waited",
          100 * e->hit_rate(), e->asked(), 100 * e->prefetch_rate(), static_cast<double>(e->bytes_read) / 1e9,
          engine_.model->weights().expert_store()->method(), e->stall_seconds);
    note("{}; context {} tokens, {:.1f} MiB of cache]\n", line, timeline_->length(),
         static_cast<double>(timeline_->memory_bytes()) / (1 << 20));
  }

  double bandwidth() {
    if (bandwidth_ == 0) bandwidth_ = measured_read_rate(engine_.model->weights().resident(), engine_.model->threads());
    return bandwidth_;
  }
  const Engine& engine() const { return engine_; }
  const Timeline& timeline() const { return *timeline_; }

 private:
  const RunOptions& options_;
  Engine engine_;
  std::unique_ptr<Timeline> timeline_;
  SamplingOptions sampling_;
  double bandwidth_ = 0;
};

void print_json(Runner& runner, const Turn& turn, bool raw) {
  nlohmann::ordered_json out;
  const GenerateResult& g = turn.generated;
  if (raw) {
    out["text"] = turn.raw;
  } else {
    out["content"] = turn.parsed.content;
    out["reasoning"] = turn.parsed.reasoning;
    out["tool_calls"] = nlohmann::ordered_json::array();
    for (const auto& call : turn.parsed.calls)
      if (call.closed) out["tool_calls"].push_back({{"name", call.name}, {"arguments", call.arguments}});
  }
  std::vector<std::int32_t> ids;
  for (const Sampled& s : g.tokens) ids.push_back(to_int(s.id));
  out["ids"] = ids;
  out["finish"] = g.finish == FinishReason::kStop     ? "stop"
                  : g.finish == FinishReason::kLength ? "length"
                                                      : "interrupted";
  out["prompt_tokens"] = g.prompt_tokens;
  out["completion_tokens"] = g.tokens.size();
  out["prefill_seconds"] = g.prefill_seconds;
  out["decode_seconds"] = g.decode_seconds;
  out["decode_tokens_per_second"] = g.decode_rate();
  if (runner.engine().model) {
    double rate = static_cast<double>(decode_weight_bytes(runner.engine().model->weights())) * g.decode_rate();
    out["decode_weight_bytes_per_second"] = rate;
    out["read_bandwidth_bytes_per_second"] = runner.bandwidth();
    out["bandwidth_share"] = rate / runner.bandwidth();
  }
  if (const ExpertStats* e = runner.engine().model ? runner.engine().model->expert_stats() : nullptr) {
    const ExpertStore& store = *runner.engine().model->weights().expert_store();
    out["experts"] = {{"hits", e->hits},
                      {"prefetched", e->prefetched},
                      {"misses", e->misses},
                      {"prefetched_for_nothing", e->wasted},
                      {"guessed", e->guessed},
                      {"guessed_right", e->guessed_right},
                      {"bytes_read", e->bytes_read},
                      {"stall_seconds", e->stall_seconds},
                      {"pack_seconds", e->pack_seconds},
                      {"slots", store.slots()},
                      {"memory_bytes", store.memory_bytes()},
                      {"read_by", store.method()}};
  }
  out["context_tokens"] = runner.timeline().length();
  out["cache_bytes"] = runner.timeline().memory_bytes();
  fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

Status run_once(Runner& runner, Conversation& conversation, const RunOptions& options) {
  std::vector<TokenId> prompt;
  if (options.raw) {
    prompt = runner.engine().tokenizer->encode(conversation.document() + *options.prompt);
  } else {
    conversation.add_user(*options.prompt);
    prompt = HADAL_TRY(conversation.tokens(*runner.engine().tokenizer));
  }
  Turn turn = HADAL_TRY(runner.answer(prompt, conversation.reading(), options.raw));
  if (options.json) print_json(runner, turn, options.raw);
  runner.print_statistics(turn.generated);
  if (turn.generated.finish == FinishReason::kStopped) return fail(ErrorCode::kCancelled, "interrupted");
  return {};
}

// Lines from a person (with editing and history) or from a pipe.
class Lines {
 public:
  Lines() : terminal_(isatty(0) == 1) {
    if (!terminal_) return;
    editor_ = el_init("hadal", stdin, stdout, stderr);
    history_ = history_init();
    HistEvent event;
    history(history_, &event, H_SETSIZE, 1000);
    el_set(
        editor_, EL_PROMPT, +[](EditLine*) -> char* {
          static char text[] = "> ";
          return text;
        });
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_HIST, history, history_);
    el_source(editor_, nullptr);
  }
  ~Lines() {
    if (!terminal_) return;
    history_end(history_);
    el_end(editor_);
  }
  bool next(std::string& line) {
    if (!terminal_) return static_cast<bool>(std::getline(std::cin, line));
    int length = 0;
    clear_interrupt();
    const char* text = el_gets(editor_, &length);
    while (!text && interrupted()) {  // Ctrl-C at the prompt drops the line
      clear_interrupt();
      note("\n");
      text = el_gets(editor_, &length);
    }
    if (!text || length <= 0) return false;
    line.assign(text, static_cast<std::size_t>(length));
    if (!line.empty() && line.back() == '\n') line.pop_back();
    HistEvent event;
    if (!line.empty()) history(history_, &event, H_ENTER, line.c_str());
    return true;
  }
  bool terminal() const { return terminal_; }

 private:
  bool terminal_;
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
};

Status chat_loop(Runner& runner, Conversation& conversation) {
  Lines lines;
  if (lines.terminal()) note("Type a message; /new forgets the conversation, Ctrl-D leaves.\n");
  std::string line;
  while (lines.next(line)) {
    if (line.empty()) continue;
    if (line == "/new") {
      conversation.clear();
      continue;
    }
    if (Status text = check_text(line, "the message"); !text) {
      if (!lines.terminal()) return text;
      note("{}\n", text.error().what);
      continue;
    }
    conversation.add_user(line);
    std::vector<TokenId> prompt = HADAL_TRY(conversation.tokens(*runner.engine().tokenizer));
    clear_interrupt();
    auto turn = runner.answer(prompt, conversation.reading(), false);
    if (interrupted() && !lines.terminal()) return fail(ErrorCode::kCancelled, "interrupted");
    if (!turn && turn.error().code == ErrorCode::kCancelled) {
      note("{}\n", turn.error().what);
      conversation.forget_last();
      continue;
    }
    if (!turn) return std::unexpected(turn.error());
    conversation.add_assistant(turn->parsed.message());
    runner.print_statistics(turn->generated);
  }
  return lines.terminal() ? Status{} : input_ended();
}

Status run(const RunOptions& options) {
  if (options.raw && !options.prompt) return fail(ErrorCode::kUsage, "--raw needs a prompt; give one with -p");
  if (options.json && !options.prompt) return fail(ErrorCode::kUsage, "--json needs a prompt; give one with -p");
  if (options.raw &&
      (!options.system.empty() || !options.tools_file.empty() || !options.format.empty() || options.think != "none"))
    return fail(
        ErrorCode::kUsage,
        "--raw uses no chat template, where --system, --tools, --think and --format would act; leave out one or "
        "the other");
  if (options.prompt) HADAL_CHECK_OK(check_text(*options.prompt, "--prompt"));
  auto checkpoint = HADAL_TRY(Checkpoint::open(model_files(options.model)));
  Conversation conversation = HADAL_TRY(Conversation::make(options, checkpoint->chat_generation()));
  EngineOptions engine_options;
  engine_options.reference = options.numerics == "reference";
  engine_options.model.numerics.fast = options.numerics == "trained";
  engine_options.model.threads = options.threads;
  engine_options.expert_memory = options.expert_memory;
  engine_options.repack_cache = options.repack_cache;
  if (options.context > 0) engine_options.context_tokens = options.context;
  Runner runner(options, HADAL_TRY(Engine::open(checkpoint, engine_options)));
  HADAL_CHECK_OK(runner.start());
  return options.prompt ? run_once(runner, conversation, options) : chat_loop(runner, conversation);
}

}  // namespace

int run_run(const RunOptions& options) {
  Status status = run(options);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
