#include "serve/native.h"

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "serve/openai.h"
#include "serve/sessions_json.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;

// Meters come no oftener than somebody looks, and reports of the prompt as often as a bar moves smoothly.
constexpr double kMeterSeconds = 1, kProgressSeconds = 0.2;

const char* finish_name(Finish finish) {
  switch (finish) {
    case Finish::kStopString:
      return "stop_sequence";
    case Finish::kToolCalls:
      return "tool_calls";
    case Finish::kLength:
      return "length";
    case Finish::kCancelled:
      return "cancelled";
    case Finish::kError:
      return "error";
    default:
      return "stop";
  }
}

class NativeWriter final : public AnswerWriter {
 public:
  NativeWriter(std::shared_ptr<const Ask> ask, AnswerHead head) : ask_(std::move(ask)), head_(std::move(head)) {
    // In the order their answers are numbered: the title's begins when the answer is there.
    for (const std::string& task : ask_->instructions)
      if (task != "title") tasks_.push_back(task);
    for (const std::string& task : ask_->instructions)
      if (task == "title") tasks_.push_back(task);
  }

  std::string begin() override {
    return event("start", {{"session", head_.session}, {"job", head_.job}, {"prompt_tokens", head_.prompt_tokens}});
  }

  bool wants(const Progress& p) const override {
    const bool first = !told_, last = p.place < 0 && p.done == p.total && !told_all_;
    return first || last || since_progress_.seconds() >= kProgressSeconds;
  }
  std::string progress(const Progress& p) override {
    since_progress_.restart();
    told_ = p.place < 0;
    told_all_ = told_ && p.done == p.total;
    if (p.place >= 0) return event("queued", {{"place", p.place}});
    return event("prefill", {{"done", p.done},
                             {"total", p.total},
                             {"cached", p.cached},
                             {"tokens_per_second", p.tokens_per_second > 0 ? Json(p.tokens_per_second) : Json(nullptr)},
                             {"eta_seconds", p.eta_seconds >= 0 ? Json(p.eta_seconds) : Json(nullptr)}});
  }

  std::string step(std::size_t, const Answer& answer, const AnswerStep& step) override {
    std::string out;
    Json logprobs = logprobs_of(step.logprobs);
    for (const chat::Event& e : step.events) {
      using K = chat::Event::Kind;
      if (e.kind == K::kReasoning) {
        out += event("reasoning", {{"delta", e.text}});
      } else if (e.kind == K::kContent) {
        Json j{{"delta", e.text}};
        if (!logprobs.empty()) j["logprobs"] = std::exchange(logprobs, Json::array());
        out += event("content", j);
      } else if (e.kind == K::kCallOpened) {
        out += event("tool_call", {{"index", e.call}, {"id", answer.call_id(e.call)}, {"name", e.text}});
      } else if (e.kind == K::kArguments) {
        out += event("arguments", {{"index", e.call}, {"delta", e.text}});
      } else if (e.kind == K::kCallClosed) {
        out += event("tool_call_end", {{"index", e.call}});
      } else if (e.kind == K::kIgnored) {
        out += event("ignored", {{"text", e.text}, {"reason", std::string(e.reason)}});
      }
    }
    if (!logprobs.empty()) out += event("content", {{"delta", ""}, {"logprobs", std::move(logprobs)}});
    if (since_meter_.seconds() >= kMeterSeconds) out += meter(answer);
    return out;
  }

  std::string end(std::size_t index, const Answer& answer) override {
    if (index == 0) return "";
    return event("instruction", instruction(index, answer));
  }
  std::string close(std::span<const std::unique_ptr<Answer>> answers) override {
    return meter(*answers[0]) + event("done", document(answers));
  }
  std::string broken(const Error& error) override {
    return sse(openai_error(status_of(error.code), error).body, "error");
  }
  std::string whole(std::span<const std::unique_ptr<Answer>> answers) override { return dump(document(answers)); }

 private:
  static std::string event(const char* name, const Json& data) { return sse(dump(data), name); }

  static Json logprobs_of(const std::vector<TokenLogprob>& entries) {
    Json out = Json::array();
    for (const TokenLogprob& entry : entries) {
      Json top = Json::array();
      for (const auto& [bytes, logprob] : entry.top) top.push_back({{"token", bytes}, {"logprob", logprob}});
      out.push_back({{"token", entry.bytes}, {"logprob", entry.logprob}, {"top", std::move(top)}});
    }
    return out;
  }

  Position end_of(const Answer& answer) const {
    const auto before = static_cast<Position>(answer.options().before.size());
    return head_.prompt_tokens + static_cast<Position>(answer.ids().size()) - before;
  }
  std::string meter(const Answer& answer) {
    since_meter_.restart();
    return sse(head_.meter(end_of(answer)), "meter");
  }

  Json instruction(std::size_t index, const Answer& answer) const {
    Json j{{"task", index <= tasks_.size() ? tasks_[index - 1] : ""}};
    if (answer.finish() == Finish::kError)
      j["error"] = answer.error().what;
    else if (answer.finish() == Finish::kCancelled)
      j["error"] = "it was stopped before it was complete";
    else
      j["text"] = answer.turn().content;
    j["usage"] = usage_object(answer.usage());
    return j;
  }

  Json document(std::span<const std::unique_ptr<Answer>> answers) const {
    const Answer& a = *answers[0];
    TranscriptTurn turn;
    turn.message = a.turn().message();
    turn.message.role = chat::Role::kAssistant;
    std::size_t closed = 0;
    for (std::size_t c = 0; c < a.turn().calls.size(); ++c)
      if (a.turn().calls[c].closed) turn.message.tool_calls[closed++].id = a.call_id(static_cast<int>(c));
    turn.from = head_.turn_from;
    turn.to = end_of(a);
    turn.finished = a.finish() == Finish::kStop || a.finish() == Finish::kToolCalls;
    Json j;
    j["session"] = head_.session;
    j["finish_reason"] = finish_name(a.finish());
    if (a.finish() == Finish::kStopString) j["stop_sequence"] = a.stop_string();
    j["message"] = message_object(turn);
    if (ask_->logprobs) j["logprobs"] = logprobs_of(a.logprobs());
    j["usage"] = usage_object(a.usage());
    j["meter"] = Json::parse(head_.meter(turn.to));
    j["instructions"] = Json::object();
    for (std::size_t i = 1; i < answers.size(); ++i)
      if (const Json one = instruction(i, *answers[i]); one.contains("text"))
        j["instructions"][one["task"].get<std::string>()] = one["text"];
    return j;
  }

  std::shared_ptr<const Ask> ask_;
  AnswerHead head_;
  std::vector<std::string> tasks_;
  Stopwatch since_meter_, since_progress_;
  bool told_ = false, told_all_ = false;
};

class NativeDialect final : public Dialect {
 public:
  Result<Ask> read(const JsonValue& body, std::string_view source) const override {
    Ask ask;
    Fields f = HADAL_TRY(Fields::of(body, ""));
    HADAL_CHECK_OK(read_chat_messages(f, source, ask));
    HADAL_CHECK_OK(read_chat_tools(f, source, ask));
    HADAL_CHECK_OK(read_sampling(f, ask));
    if (ask.answers != 1) return fail(ErrorCode::kUnsupported, "'n' other than 1: a session goes on in one way");
    ask.effort = HADAL_TRY(f.text("effort")).value_or("");
    if (ask.effort == "none") ask.thinking = false;
    ask.thinking_budget = HADAL_TRY(f.integer("thinking_budget", 0, INT64_MAX)).value_or(-1);
    ask.max_tokens = HADAL_TRY(f.integer("max_tokens", 1, INT64_MAX)).value_or(-1);
    ask.logprobs = HADAL_TRY(f.flag("logprobs")).value_or(false);
    ask.top_logprobs = static_cast<int>(HADAL_TRY(f.integer("top_logprobs", 0, 20)).value_or(0));
    if (ask.top_logprobs > 0 && !ask.logprobs)
      return fail(ErrorCode::kUsage, "'top_logprobs' needs 'logprobs' to be true");
    ask.continues = HADAL_TRY(f.flag("continue")).value_or(false);
    ask.instructions = HADAL_TRY(f.texts("instructions"));
    f.report_unknown(ask.warnings);
    return ask;
  }
  std::unique_ptr<AnswerWriter> writer(std::shared_ptr<const Ask> ask, AnswerHead head) const override {
    return std::make_unique<NativeWriter>(std::move(ask), std::move(head));
  }
  Response error(int status, const Error& error, const std::string&) const override {
    return openai_error(status, error);
  }
};

class InstructionWriter final : public AnswerWriter {
 public:
  explicit InstructionWriter(std::string task) : task_(std::move(task)) {}
  std::string begin() override { return ""; }
  std::string step(std::size_t, const Answer&, const AnswerStep&) override { return ""; }
  std::string end(std::size_t, const Answer&) override { return ""; }
  std::string close(std::span<const std::unique_ptr<Answer>>) override { return ""; }
  std::string broken(const Error&) override { return ""; }
  std::string whole(std::span<const std::unique_ptr<Answer>> answers) override {
    return dump({{"task", task_}, {"text", answers[0]->turn().content}, {"usage", usage_object(answers[0]->usage())}});
  }

 private:
  std::string task_;
};

class InstructionDialect final : public Dialect {
 public:
  Result<Ask> read(const JsonValue&, std::string_view) const override {
    return fail(ErrorCode::kInternal, "a Quick Instruction is read elsewhere");
  }
  std::unique_ptr<AnswerWriter> writer(std::shared_ptr<const Ask> ask, AnswerHead) const override {
    return std::make_unique<InstructionWriter>(ask->instructions[0]);
  }
  Response error(int status, const Error& error, const std::string&) const override {
    return openai_error(status, error);
  }
};

}  // namespace

const Dialect& quick_instructions() {
  static const InstructionDialect dialect;
  return dialect;
}

Result<NewSession> read_new_session(const JsonValue& body, std::string_view source) {
  NewSession out;
  Fields f = HADAL_TRY(Fields::of(body, ""));
  out.id = HADAL_TRY(f.text("id")).value_or("");
  out.title = HADAL_TRY(f.text("title")).value_or("");
  if (const auto system = HADAL_TRY(f.text("system"))) {
    out.ask.messages.emplace_back().content = *system;
    out.ask.messages.back().role = chat::Role::kSystem;
  }
  HADAL_CHECK_OK(read_chat_messages(f, source, out.ask));
  HADAL_CHECK_OK(read_chat_tools(f, source, out.ask));
  std::vector<std::string> unknown;
  f.report_unknown(unknown);
  if (!unknown.empty())
    return fail(ErrorCode::kUsage,
                "{}; a session is made of id, title, system, tools and "
                "messages",
                unknown[0]);
  return out;
}

Result<Ask> read_appended(const JsonValue& body, std::string_view source) {
  Ask ask;
  Fields f = HADAL_TRY(Fields::of(body, ""));
  HADAL_CHECK_OK(read_chat_messages(f, source, ask));
  if (ask.messages.empty()) return fail(ErrorCode::kUsage, "'messages' is missing; it must be a list of messages");
  return ask;
}

const Dialect& native_sessions() {
  static const NativeDialect dialect;
  return dialect;
}

}  // namespace hadal::serve
