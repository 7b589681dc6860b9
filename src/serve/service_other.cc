// Everything the server answers that is not an answer of the model.
#include <fmt/chrono.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "chat/codec.h"
#include "chat/tokenize.h"
#include "serve/conversation.h"
#include "serve/openai.h"
#include "serve/openapi.h"
#include "serve/page.h"
#include "serve/query.h"
#include "serve/service.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;

// The client-visible name in a path such as /v1/jobs/NAME, with %XX decoded.
std::string name_in(std::string_view path, std::string_view before) {
  return percent_decoded(path.substr(before.size()));
}

void text(Exchange& exchange, int status, std::string body) {
  exchange.send({status, "text/plain; charset=utf-8", {}, std::move(body)});
}

}  // namespace

void Service::count_tokens(std::shared_ptr<Exchange> exchange) {
  const Request& request = exchange->request();
  auto count = [&]() -> Result<std::size_t> {
    const JsonValue body = HADAL_TRY(parse_body(request.body));
    Ask ask = HADAL_TRY(anthropic_messages().read(body, request.body));
    // max_tokens is required of a message, and of no use here.
    std::vector<Header> headers;
    HADAL_CHECK_OK(admit_warnings(request, ask, headers));
    return HADAL_TRY(prepare(ask, request.id)).ids.size();
  };
  const auto tokens = count();
  if (!tokens) return fail_with(*exchange, status_of(tokens.error().code), tokens.error());
  exchange->send({200, "application/json", {}, fmt::format("{{\"input_tokens\":{}}}", *tokens)});
}

void Service::models(std::shared_ptr<Exchange> exchange) {
  // One object that clients of both vendors' lists understand.
  Json model;
  model["id"] = options_.model;
  model["object"] = "model";
  model["type"] = "model";
  model["created"] = started_;
  model["created_at"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(started_)));
  model["owned_by"] = "hadal";
  model["display_name"] = options_.model;
  model["context_length"] = context_;
  model["max_model_len"] = context_;
  constexpr std::string_view kOne = "/v1/models/";
  const std::string& path = exchange->request().path;
  if (path.starts_with(kOne)) {
    const std::string name = name_in(path, kOne);
    if (name != options_.model)
      return fail_with(
          *exchange, 404,
          {ErrorCode::kNotFound, fmt::format("there is no model '{}' here; '{}' is served", name, options_.model)});
    return exchange->send({200, "application/json", {}, dump(model)});
  }
  Json list;
  list["object"] = "list";
  list["data"] = Json::array({model});
  list["has_more"] = false;
  list["first_id"] = list["last_id"] = options_.model;
  exchange->send({200, "application/json", {}, dump(list)});
}

void Service::tokenize(std::shared_ptr<Exchange> exchange) {
  const Request& request = exchange->request();
  const Tokenizer& tokenizer = *scheduler_->engine().tokenizer;
  auto go = [&]() -> Result<std::vector<TokenId>> {
    const JsonValue body = HADAL_TRY(parse_body(request.body));
    Fields f = HADAL_TRY(Fields::of(body, ""));
    if (f.has("messages")) {
      Ask ask = HADAL_TRY(openai_chat().read(body, request.body));
      return HADAL_TRY(prepare(ask, request.id)).ids;
    }
    std::string given;
    bool any = false;
    for (std::string_view key : {"prompt", "content", "text"})
      if (auto value = HADAL_TRY(f.text(key))) {
        given = *value;
        any = true;
      }
    if (!any) return fail(ErrorCode::kUsage, "'prompt' is missing; send a text, or 'messages'");
    const bool literal = HADAL_TRY(f.flag("literal")).value_or(false);
    f.pass({"model", "add_special_tokens"});
    return literal ? tokenizer.encode_literal(given) : tokenizer.encode(given);
  };
  auto ids = go();
  if (!ids) return fail_with(*exchange, status_of(ids.error().code), ids.error());
  Json j;
  j["count"] = ids->size();
  j["max_model_len"] = context_;
  j["tokens"] = Json::array();
  for (TokenId id : *ids) j["tokens"].push_back(to_int(id));
  exchange->send({200, "application/json", {}, dump(j)});
}

void Service::detokenize(std::shared_ptr<Exchange> exchange) {
  const Request& request = exchange->request();
  const Tokenizer& tokenizer = *scheduler_->engine().tokenizer;
  auto go = [&]() -> Result<std::string> {
    const JsonValue body = HADAL_TRY(parse_body(request.body));
    Fields f = HADAL_TRY(Fields::of(body, ""));
    const auto* list = HADAL_TRY(f.list("tokens"));
    if (!list) return fail(ErrorCode::kUsage, "'tokens' is missing; it must be a list of token ids");
    std::vector<TokenId> ids;
    for (std::size_t i = 0; i < list->size(); ++i) {
      const JsonValue& v = (*list)[i];
      std::int32_t id = -1;
      if (v.is(JsonValue::Kind::kNumber)) std::from_chars(v.text.data(), v.text.data() + v.text.size(), id);
      if (id < 0 || !tokenizer.contains(TokenId{id}))
        return fail(ErrorCode::kUsage, "'tokens[{}]' is not an id of this model's vocabulary", i);
      ids.push_back(TokenId{id});
    }
    return tokenizer.decode(ids);
  };
  auto decoded = go();
  if (!decoded) return fail_with(*exchange, status_of(decoded.error().code), decoded.error());
  Json j;
  j["prompt"] = *decoded;
  j["content"] = *decoded;
  exchange->send({200, "application/json", {}, dump(j)});
}

void Service::health(std::shared_ptr<Exchange> exchange) { text(*exchange, 200, "ok\n"); }

void Service::ready(std::shared_ptr<Exchange> exchange) {
  if (draining_) return text(*exchange, 503, "shutting down\n");
  text(*exchange, 200, "ready\n");
}

void Service::set_counters(std::function<HttpCounters()> counters) {
  const std::lock_guard lock(counters_mutex_);
  counters_ = std::move(counters);
}

void Service::metrics(std::shared_ptr<Exchange> exchange) {
  HttpCounters transport;
  {
    const std::lock_guard lock(counters_mutex_);
    if (counters_) transport = counters_();
  }
  std::int64_t live = 0;
  {
    const std::lock_guard lock(mutex_);
    live = static_cast<std::int64_t>(live_.size());
  }
  exchange->send(
      {200, "text/plain; version=0.0.4; charset=utf-8", {}, metrics_.text(scheduler_->stats(), transport, live)});
}

void Service::openapi(std::shared_ptr<Exchange> exchange) {
  exchange->send({200, "application/json", {}, openapi_document()});
}

// The page for browsers, a line for everything else that looks whether somebody answers here.
void Service::root(std::shared_ptr<Exchange> exchange) {
  if (exchange->request().header("accept").find("text/html") != std::string_view::npos) return web(std::move(exchange));
  text(*exchange, 200, fmt::format("hadal serves {}. /openapi.json says what can be asked.\n", options_.model));
}

void Service::web(std::shared_ptr<Exchange> exchange) {
  auto file = page(exchange->request());
  if (file) return exchange->send(std::move(*file));
  fail_with(*exchange, 404, {ErrorCode::kNotFound, fmt::format("the page has no file {}", exchange->request().path)});
}

// Re-attaching to a request that was detached or had an idempotency key, and ending it.
void Service::job(std::shared_ptr<Exchange> exchange) {
  const Request& request = exchange->request();
  const std::string name = name_in(request.path, "/v1/jobs/");
  const std::string client = options_.keys.empty() ? "" : options_.keys.admit(request).value_or("");
  std::optional<Attachable> what;
  {
    const std::lock_guard lock(mutex_);
    if (auto found = attachable_.find(client + "/" + name); found != attachable_.end()) what = found->second;
  }
  if (!what)
    return fail_with(
        *exchange, 404,
        {ErrorCode::kNotFound, fmt::format("there is no request '{}' to attach to; only those sent with an "
                                           "Idempotency-Key or X-Hadal-Detach can be",
                                           name)});
  if (request.method == "DELETE") {
    for (const auto& one : what->jobs) one->cancel();
    return exchange->send({200, "application/json", {}, "{\"cancelled\":true}"});
  }
  bool stream = what->ask->stream;
  if (request.query.find("stream=true") != std::string::npos) stream = true;
  if (request.query.find("stream=false") != std::string::npos) stream = false;
  attach(std::move(exchange), *what, stream, true, {{"X-Hadal-Job", name}});
}

}  // namespace hadal::serve
