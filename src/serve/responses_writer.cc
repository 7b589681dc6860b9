// OpenAI Responses: what a client gets. An answer is a list of items, reasoning, message, function calls; a stream
// announces every item, sends its pieces and closes it.
#include <nlohmann/json.hpp>

#include "serve/openai.h"
#include "serve/responses.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;

class Writer final : public AnswerWriter {
 public:
  Writer(std::shared_ptr<const Ask> ask, AnswerHead head) : ask_(std::move(ask)), head_(std::move(head)) {}

  std::string begin() override {
    const Json r = response("in_progress", nullptr);
    std::string out = event("response.created", {{"response", r}});
    return out + event("response.in_progress", {{"response", r}});
  }

  std::string step(std::size_t, const Answer& answer, const AnswerStep& step) override {
    using K = chat::Event::Kind;
    std::string out;
    for (const TokenLogprob& t : step.logprobs) logprobs_.push_back(logprob(t));
    Json fresh = Json::array();
    for (const TokenLogprob& t : step.logprobs) fresh.push_back(logprob(t));
    for (const chat::Event& e : step.events) {
      if (e.kind == K::kReasoning) {
        out += open(Item::kReasoning, answer);
        text_ += e.text;
        out += event("response.reasoning_summary_text.delta",
                     {{"item_id", id_}, {"output_index", index()}, {"summary_index", 0}, {"delta", e.text}});
      } else if (e.kind == K::kContent) {
        out += open(Item::kMessage, answer);
        text_ += e.text;
        out += event("response.output_text.delta", {{"item_id", id_},
                                                    {"output_index", index()},
                                                    {"content_index", 0},
                                                    {"delta", e.text},
                                                    {"logprobs", std::exchange(fresh, Json::array())}});
      } else if (e.kind == K::kCallOpened) {
        out += close_item("completed");
        name_ = e.text;
        call_ = answer.call_id(e.call);
        out += open(Item::kCall, answer);
      } else if (e.kind == K::kArguments) {
        text_ += e.text;
        out += event("response.function_call_arguments.delta",
                     {{"item_id", id_}, {"output_index", index()}, {"delta", e.text}});
      } else if (e.kind == K::kCallClosed) {
        out += close_item("completed");
      }
    }
    return out;
  }

  std::string end(std::size_t, const Answer& answer) override {
    const bool whole = answer.finish() != Finish::kLength;
    return close_item(whole ? "completed" : "incomplete");
  }
  std::string close(std::span<const std::unique_ptr<Answer>> answers) override {
    const Answer& a = *answers[0];
    const bool whole = a.finish() != Finish::kLength;
    return event(whole ? "response.completed" : "response.incomplete",
                 {{"response", response(whole ? "completed" : "incomplete", &a)}});
  }
  std::string broken(const Error& error) override {
    Json r = response("failed", nullptr);
    r["error"] = {{"code", "server_error"}, {"message", error.what}};
    return event("response.failed", {{"response", std::move(r)}});
  }

  std::string whole(std::span<const std::unique_ptr<Answer>> answers) override {
    const Answer& a = *answers[0];
    AnswerStep all;  // the items are built as a stream builds them, and only the last state is kept
    using K = chat::Event::Kind;
    if (!a.turn().reasoning.empty()) all.events.push_back({K::kReasoning, a.turn().reasoning});
    if (!a.turn().content.empty()) all.events.push_back({K::kContent, a.turn().content});
    for (std::size_t c = 0; c < a.turn().calls.size(); ++c) {
      const auto& call = a.turn().calls[c];
      if (!call.closed) continue;
      const int at = static_cast<int>(c);
      all.events.push_back({K::kCallOpened, call.name, at});
      all.events.push_back({K::kArguments, call.arguments, at});
      all.events.push_back({K::kCallClosed, "", at});
    }
    all.logprobs = a.logprobs();
    step(0, a, all);
    end(0, a);
    return dump(response(a.finish() == Finish::kLength ? "incomplete" : "completed", &a));
  }

 private:
  enum class Item { kNone, kReasoning, kMessage, kCall };

  std::size_t index() const { return output_.size(); }
  static Json logprob(const TokenLogprob& t) {
    Json j;
    j["token"] = t.bytes;
    j["logprob"] = t.logprob;
    j["bytes"] = Json::array();
    for (unsigned char c : t.bytes) j["bytes"].push_back(c);
    j["top_logprobs"] = Json::array();
    for (const auto& [bytes, value] : t.top) j["top_logprobs"].push_back({{"token", bytes}, {"logprob", value}});
    return j;
  }

  // The item that is being written, as it stands.
  Json item(const char* status) const {
    Json j;
    j["id"] = id_;
    if (open_ == Item::kReasoning) {
      j["type"] = "reasoning";
      j["summary"] = text_.empty() ? Json::array() : Json::array({{{"type", "summary_text"}, {"text", text_}}});
      // Opaque to clients, which may send it back; the reasoning itself is restored from memory.
      j["encrypted_content"] = "hadal-" + head_.id;
      j["status"] = status;
    } else if (open_ == Item::kMessage) {
      j["type"] = "message";
      j["status"] = status;
      j["role"] = "assistant";
      j["content"] = text_.empty() ? Json::array() : Json::array({part()});
    } else {
      j["type"] = "function_call";
      j["status"] = status;
      j["call_id"] = call_;
      j["name"] = name_;
      j["arguments"] = text_;
    }
    return j;
  }
  Json part() const {
    return {{"type", "output_text"}, {"text", text_}, {"annotations", Json::array()}, {"logprobs", logprobs_}};
  }

  std::string open(Item kind, const Answer&) {
    if (open_ == kind && kind != Item::kCall) return "";
    std::string out = close_item("completed");
    open_ = kind;
    text_.clear();
    const char* prefix = kind == Item::kReasoning ? "rs" : kind == Item::kMessage ? "msg" : "fc";
    id_ = fmt::format("{}_{}{:04x}", prefix, head_.id, index());
    out += event("response.output_item.added", {{"output_index", index()}, {"item", item("in_progress")}});
    if (kind == Item::kReasoning)
      out += event("response.reasoning_summary_part.added", {{"item_id", id_},
                                                             {"output_index", index()},
                                                             {"summary_index", 0},
                                                             {"part", {{"type", "summary_text"}, {"text", ""}}}});
    if (kind == Item::kMessage)
      out += event("response.content_part.added",
                   {{"item_id", id_}, {"output_index", index()}, {"content_index", 0}, {"part", part()}});
    return out;
  }
  std::string close_item(const char* status) {
    if (open_ == Item::kNone) return "";
    std::string out;
    if (open_ == Item::kReasoning) {
      out += event("response.reasoning_summary_text.done",
                   {{"item_id", id_}, {"output_index", index()}, {"summary_index", 0}, {"text", text_}});
      out += event("response.reasoning_summary_part.done", {{"item_id", id_},
                                                            {"output_index", index()},
                                                            {"summary_index", 0},
                                                            {"part", {{"type", "summary_text"}, {"text", text_}}}});
    } else if (open_ == Item::kMessage) {
      out += event("response.output_text.done", {{"item_id", id_},
                                                 {"output_index", index()},
                                                 {"content_index", 0},
                                                 {"text", text_},
                                                 {"logprobs", logprobs_}});
      out += event("response.content_part.done",
                   {{"item_id", id_}, {"output_index", index()}, {"content_index", 0}, {"part", part()}});
    } else {
      out += event("response.function_call_arguments.done",
                   {{"item_id", id_}, {"output_index", index()}, {"name", name_}, {"arguments", text_}});
    }
    const Json done = item(status);
    out += event("response.output_item.done", {{"output_index", index()}, {"item", done}});
    // A call that was cut off must not run: it is closed in the stream and left out of the result.
    output_.push_back(done);
    open_ = Item::kNone;
    return out;
  }

  Json response(const char* status, const Answer* answer) const {
    Json j;
    j["id"] = "resp_" + head_.id;
    j["object"] = "response";
    j["created_at"] = head_.created;
    j["status"] = status;
    j["error"] = nullptr;
    j["incomplete_details"] = nullptr;
    if (answer && answer->finish() == Finish::kLength) j["incomplete_details"] = {{"reason", "max_output_tokens"}};
    j["model"] = head_.model;
    j["output"] = Json::array();
    for (const Json& o : output_)
      if (o["type"] != "function_call" || o["status"] == "completed") j["output"].push_back(o);
    j["usage"] = nullptr;
    if (answer) {
      const JobUsage& u = answer->usage();
      j["usage"] = {{"input_tokens", u.prompt},
                    {"input_tokens_details", {{"cached_tokens", u.cached}}},
                    {"output_tokens", u.generated},
                    {"output_tokens_details", {{"reasoning_tokens", u.thinking}}},
                    {"total_tokens", u.prompt + u.generated}};
    }
    const Json echoed = Json::parse("{" + ask_->echoed + "}", nullptr, false);
    if (echoed.is_object())
      for (const auto& [key, value] : echoed.items()) j[key] = value;
    return j;
  }
  std::string event(const char* type, const Json& members) {
    Json j;
    j["type"] = type;
    j["sequence_number"] = sequence_++;
    for (const auto& [key, value] : members.items()) j[key] = value;
    return sse(dump(j), type);
  }

  std::shared_ptr<const Ask> ask_;
  AnswerHead head_;
  std::vector<Json> output_;  // items that are complete
  Item open_ = Item::kNone;
  std::string id_, text_, name_, call_;
  Json logprobs_ = Json::array();
  std::int64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<AnswerWriter> responses_writer(std::shared_ptr<const Ask> ask, AnswerHead head) {
  return std::make_unique<Writer>(std::move(ask), std::move(head));
}

}  // namespace hadal::serve
