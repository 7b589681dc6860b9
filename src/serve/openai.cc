#include "serve/openai.h"

#include "serve/dialect.h"

namespace hadal::serve {

using Json = nlohmann::ordered_json;
using Kind = JsonValue::Kind;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string sse(std::string_view data, std::string_view event) {
  std::string out;
  if (!event.empty()) out = fmt::format("event: {}\n", event);
  return out + "data: " + std::string(data) + "\n\n";
}

std::string AnswerWriter::progress(const Progress& p) {
  if (p.place >= 0) return fmt::format(": waiting, {} before this one\n\n", p.place);
  std::string out = fmt::format(": reading the prompt, {} of {} tokens", p.done, p.total);
  if (p.tokens_per_second > 0) out += fmt::format(", {:.0f} tokens/s", p.tokens_per_second);
  if (p.eta_seconds >= 0) out += fmt::format(", about {:.0f} s left", p.eta_seconds);
  return out + "\n\n";
}

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
    case ErrorCode::kBadInput:
    case ErrorCode::kUnsupported:
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kBusy:
      return 429;
    case ErrorCode::kNoMemory:
      return 503;
    default:
      return 500;
  }
}

Response openai_error(int status, const Error& error) {
  Json inner;
  inner["message"] = error.what;
  inner["type"] = status == 401   ? "authentication_error"
                  : status == 429 ? "rate_limit_error"
                  : status >= 500 ? "server_error"
                                  : "invalid_request_error";
  const std::string_view field = field_of(error);
  inner["param"] = field.empty() ? Json(nullptr) : Json(field);
  inner["code"] = status == 401                           ? Json("invalid_api_key")
                  : status == 429                         ? Json("busy")
                  : error.code == ErrorCode::kUnsupported ? Json("unsupported")
                  : error.code == ErrorCode::kNotFound    ? Json("not_found")
                                                          : Json(nullptr);
  Json j;
  j["error"] = std::move(inner);
  return {status, "application/json", {}, dump(j)};
}

Status read_sampling(Fields& f, Ask& ask) {
  ask.model = HADAL_TRY(f.text("model")).value_or("");
  ask.temperature = HADAL_TRY(f.number("temperature"));
  ask.top_p = HADAL_TRY(f.number("top_p"));
  ask.min_p = HADAL_TRY(f.number("min_p"));
  ask.top_k = HADAL_TRY(f.integer("top_k", -1, INT32_MAX));
  if (ask.top_k && *ask.top_k < 0) ask.top_k = 0;  // -1 is another spelling of "all"
  if (auto seed = HADAL_TRY(f.integer("seed", INT64_MIN, INT64_MAX))) ask.seed = static_cast<std::uint64_t>(*seed);
  ask.stop = HADAL_TRY(f.texts("stop"));
  ask.answers = HADAL_TRY(f.integer("n", 1, 128)).value_or(1);
  ask.stream = HADAL_TRY(f.flag("stream")).value_or(false);
  if (auto options = HADAL_TRY(f.object("stream_options"))) {
    ask.stream_usage = HADAL_TRY(options->flag("include_usage")).value_or(false);
    options->pass({"include_obfuscation"});
    options->report_unknown(ask.warnings);
  }
  ask.client = HADAL_TRY(f.text("user")).value_or("");
  for (std::string_view penalty : {"presence_penalty", "frequency_penalty"})
    HADAL_CHECK_OK(f.refuse(penalty, "tokens are drawn from the model's own distribution; leave it out or send 0"));
  HADAL_CHECK_OK(f.refuse("logit_bias", "tokens are drawn from the model's own distribution; leave it out"));
  if (auto penalty = HADAL_TRY(f.number("repetition_penalty")); penalty && *penalty != 1)
    return fail(ErrorCode::kUnsupported, "'repetition_penalty' is not supported; leave it out or send 1");
  // Where and for whom the request is kept or counted elsewhere; nothing is kept here.
  f.pass({"store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
          "prediction", "verbosity"});
  return {};
}

Status read_tool_choice(Fields& f, Ask& ask) {
  ask.parallel = HADAL_TRY(f.flag("parallel_tool_calls")).value_or(true);
  const JsonValue* choice = f.get("tool_choice");
  if (!choice) return {};
  using K = ToolChoice::Kind;
  if (choice->is(Kind::kString)) {
    if (choice->text == "none")
      ask.choice.kind = K::kNone;
    else if (choice->text == "required" || choice->text == "any")
      ask.choice.kind = K::kRequired;
    else if (choice->text != "auto")
      return f.wrong("tool_choice", "none, auto, required or a function's name in an object");
    return {};
  }
  Fields named = HADAL_TRY(Fields::of(*choice, f.path("tool_choice")));
  const std::string type = HADAL_TRY(named.required_text("type"));
  if (type != "function")
    return fail(ErrorCode::kUnsupported, "'tool_choice.type' may be 'function' only, not '{}'", type);
  auto function = HADAL_TRY(named.object("function"));
  ask.choice.kind = K::kNamed;
  ask.choice.name = HADAL_TRY((function ? *function : named).required_text("name"));
  return {};
}

const char* openai_finish(Finish finish) {
  switch (finish) {
    case Finish::kToolCalls:
      return "tool_calls";
    case Finish::kLength:
      return "length";
    default:
      return "stop";
  }
}

Json openai_usage(std::span<const std::unique_ptr<Answer>> answers) {
  std::int64_t prompt = 0, cached = 0, generated = 0, thinking = 0;
  for (const auto& a : answers) {
    prompt = a->usage().prompt;  // the same for all answers, and counted once
    cached = std::max(cached, a->usage().cached);
    generated += a->usage().generated;
    thinking += a->usage().thinking;
  }
  Json j;
  j["prompt_tokens"] = prompt;
  j["completion_tokens"] = generated;
  j["total_tokens"] = prompt + generated;
  j["prompt_tokens_details"] = {{"cached_tokens", cached}};
  j["completion_tokens_details"] = {{"reasoning_tokens", thinking}};
  return j;
}

std::optional<Effort> effort_of(std::string_view word, chat::Generation generation) {
  if (word == "none") return Effort{false, chat::Effort::kDefault};
  if (word == "minimal" || word == "low")
    return Effort{true, generation == chat::Generation::k0731 ? chat::Effort::kLow : chat::Effort::kHigh};
  if (word.empty() || word == "medium" || word == "high" || word == "xhigh") return Effort{true, chat::Effort::kHigh};
  if (word == "max" || word == "ultra") return Effort{true, chat::Effort::kMax};
  return std::nullopt;
}

}  // namespace hadal::serve
