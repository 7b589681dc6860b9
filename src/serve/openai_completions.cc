// OpenAI Completions: text in, its continuation out. No chat format; what the prompt spells is what the model reads.
#include <charconv>
#include <nlohmann/json.hpp>

#include "serve/dialect.h"
#include "serve/openai.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonValue::Kind;

Status read_prompt(Fields& f, Ask& ask) {
  const JsonValue* prompt = f.get("prompt");
  if (!prompt) return fail(ErrorCode::kUsage, "'prompt' is missing; it must be a string or a list of token ids");
  if (prompt->is(Kind::kString)) {
    ask.prompt = prompt->text;
    return {};
  }
  if (!prompt->is(Kind::kArray) || prompt->items.empty()) return f.wrong("prompt", "a string or a list of token ids");
  const JsonValue& first = prompt->items[0];
  if (!first.is(Kind::kNumber)) {
    if (prompt->items.size() > 1)
      return fail(ErrorCode::kUnsupported, "'prompt' holds {} prompts; send one in a request", prompt->items.size());
    if (first.is(Kind::kString)) {
      ask.prompt = first.text;
      return {};
    }
    if (!first.is(Kind::kArray)) return f.wrong("prompt", "a string or a list of token ids");
  }
  const std::vector<JsonValue>& ids = first.is(Kind::kArray) ? first.items : prompt->items;
  for (const JsonValue& v : ids) {
    std::int32_t id = -1;
    if (v.is(Kind::kNumber)) std::from_chars(v.text.data(), v.text.data() + v.text.size(), id);
    if (id < 0) return f.wrong("prompt", "a string or a list of token ids");
    ask.prompt_ids.push_back(TokenId{id});
  }
  return {};
}

class Completions final : public Dialect {
 public:
  Result<Ask> read(const JsonValue& body, std::string_view) const override {
    Ask ask;
    ask.raw = true;
    Fields f = HADAL_TRY(Fields::of(body, ""));
    HADAL_CHECK_OK(read_prompt(f, ask));
    HADAL_CHECK_OK(read_sampling(f, ask));
    ask.max_tokens = HADAL_TRY(f.integer("max_tokens", 1, INT64_MAX)).value_or(16);  // the API's own default
    if (auto logprobs = HADAL_TRY(f.integer("logprobs", 0, 20))) {
      ask.logprobs = true;
      ask.top_logprobs = static_cast<int>(*logprobs);
    }
    ask.echo = HADAL_TRY(f.flag("echo")).value_or(false);
    if (ask.echo && ask.logprobs)
      return fail(ErrorCode::kUnsupported, "'echo' with 'logprobs' is not supported: prompts are not scored");
    if (ask.echo && !ask.prompt_ids.empty())
      return fail(ErrorCode::kUnsupported, "'echo' is supported for a prompt that is a text");
    HADAL_CHECK_OK(f.refuse("suffix", "the model was not trained to fill in"));
    if (auto best = HADAL_TRY(f.integer("best_of", 1, 128)); best && *best != ask.answers)
      return fail(ErrorCode::kUnsupported, "'best_of' other than 'n' is not supported");
    f.report_unknown(ask.warnings);
    return ask;
  }
  std::unique_ptr<AnswerWriter> writer(std::shared_ptr<const Ask> ask, AnswerHead head) const override;
  Response error(int status, const Error& error, const std::string&) const override {
    return openai_error(status, error);
  }
};

class Writer final : public AnswerWriter {
 public:
  Writer(std::shared_ptr<const Ask> ask, AnswerHead head) : ask_(std::move(ask)), head_(std::move(head)) {}

  std::string begin() override {
    std::string out;
    if (!head_.prompts.empty())
      for (std::int64_t i = 0; i < ask_->answers; ++i)
        out += chunk(static_cast<std::size_t>(i), head_.prompts[0], {}, nullptr);
    return out;
  }
  std::string step(std::size_t index, const Answer&, const AnswerStep& step) override {
    std::string text;
    for (const chat::Event& e : step.events)
      if (e.kind == chat::Event::Kind::kContent) text += e.text;
    return text.empty() && step.logprobs.empty() ? "" : chunk(index, text, step.logprobs, nullptr);
  }
  std::string end(std::size_t index, const Answer& answer) override {
    return chunk(index, "", {}, openai_finish(answer.finish()));
  }
  std::string close(std::span<const std::unique_ptr<Answer>> answers) override {
    std::string out;
    if (ask_->stream_usage) {
      Json j = head();
      j["choices"] = Json::array();
      j["usage"] = openai_usage(answers);
      out = sse(dump(j));
    }
    return out + "data: [DONE]\n\n";
  }
  std::string broken(const Error& error) override { return sse(openai_error(500, error).body) + "data: [DONE]\n\n"; }
  std::string whole(std::span<const std::unique_ptr<Answer>> answers) override {
    Json j = head();
    j["choices"] = Json::array();
    for (std::size_t i = 0; i < answers.size(); ++i)
      j["choices"].push_back(choice(i, (head_.prompts.empty() ? "" : head_.prompts[0]) + answers[i]->turn().content,
                                    answers[i]->logprobs(), openai_finish(answers[i]->finish())));
    j["usage"] = openai_usage(answers);
    return dump(j);
  }

 private:
  Json head() const {
    Json j;
    j["id"] = "cmpl-" + head_.id;
    j["object"] = "text_completion";
    j["created"] = head_.created;
    j["model"] = head_.model;
    return j;
  }
  Json choice(std::size_t index, const std::string& text, const std::vector<TokenLogprob>& logprobs,
              const Json& finish) const {
    Json c;
    c["index"] = index;
    c["text"] = text;
    c["logprobs"] = nullptr;
    if (ask_->logprobs) {
      Json lp;
      lp["tokens"] = lp["token_logprobs"] = lp["top_logprobs"] = lp["text_offset"] = Json::array();
      std::size_t& offset = offsets_[index];
      for (const TokenLogprob& t : logprobs) {
        lp["tokens"].push_back(t.bytes);
        lp["token_logprobs"].push_back(t.logprob);
        Json top = Json::object();
        for (const auto& [bytes, logprob] : t.top) top[bytes] = logprob;
        lp["top_logprobs"].push_back(std::move(top));
        lp["text_offset"].push_back(offset);
        offset += t.bytes.size();
      }
      c["logprobs"] = std::move(lp);
    }
    c["finish_reason"] = finish;
    return c;
  }
  std::string chunk(std::size_t index, const std::string& text, const std::vector<TokenLogprob>& logprobs,
                    const Json& finish) const {
    Json j = head();
    j["choices"] = Json::array({choice(index, text, logprobs, finish)});
    return sse(dump(j));
  }
  std::shared_ptr<const Ask> ask_;
  AnswerHead head_;
  mutable std::map<std::size_t, std::size_t> offsets_;  // bytes of text before the next token, by answer
};

std::unique_ptr<AnswerWriter> Completions::writer(std::shared_ptr<const Ask> ask, AnswerHead head) const {
  return std::make_unique<Writer>(std::move(ask), std::move(head));
}

}  // namespace

const Dialect& openai_completions() {
  static const Completions dialect;
  return dialect;
}

}  // namespace hadal::serve
