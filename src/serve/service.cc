#include "serve/service.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "base/log.h"
#include "cache/prefix_store.h"
#include "chat/codec.h"
#include "chat/python_json.h"
#include "chat/replay.h"
#include "chat/templates.h"
#include "chat/tokenize.h"
#include "serve/explain.h"
#include "serve/native.h"

namespace hadal::serve {
namespace {

// Requests that can be joined or re-attached to are remembered at most this many.
constexpr std::size_t kMostAttachable = 256;

std::int64_t seconds_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::uint64_t random_seed() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return random();
}

// Header values are ASCII; anything else would need an encoding that no client undoes.
std::string ascii(std::string_view text) {
  std::string out;
  for (char c : text) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out.substr(0, 900);
}

bool names_this_machine(std::string_view host) {
  if (host.starts_with('[')) {
    host = host.substr(0, host.find(']') == std::string_view::npos ? host.size() : host.find(']') + 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  return host.empty() || host == "localhost" || host.starts_with("127.") || host == "[::1]";
}

std::string seed_of(const std::string& id, std::span<const TokenId> prompt) {
  // Ids of calls must differ between requests that share an idempotency key by accident.
  std::uint64_t sum = 1469598103934665603u;  // FNV-1a
  for (TokenId t : prompt) sum = (sum ^ static_cast<std::uint32_t>(to_int(t))) * 1099511628211u;
  return fmt::format("{} {:x}", id, sum);
}

}  // namespace

Service::Service(std::unique_ptr<Scheduler> scheduler, ServiceOptions options)
    : scheduler_(std::move(scheduler)), options_(std::move(options)), started_(seconds_now()) {
  if (!options_.turns) options_.turns = std::make_shared<Turns>();
  sampling_ = scheduler_->engine().default_sampling();
  sessions_ = std::make_unique<Sessions>(*scheduler_, options_.generation);
  context_ = scheduler_->engine().checkpoint->config().max_position_embeddings;
}

const Dialect& Service::dialect_of(std::string_view path) const {
  return path.starts_with("/v1/messages") ? anthropic_messages() : openai_chat();
}

Response Service::refuse(std::string_view path, int status, const std::string& sentence) const {
  Response response = dialect_of(path).error(status, {ErrorCode::kUsage, sentence}, "");
  if (status == 503) response.headers.push_back({"Retry-After", "1"});
  return response;
}

void Service::fail_with(Exchange& exchange, int status, const Error& error) const {
  const Request& request = exchange.request();
  Response response = dialect_of(request.path).error(status, error, request.id);
  if (status == 429 || status == 503)
    response.headers.push_back({"Retry-After", std::to_string(std::max<std::int64_t>(
                                                   1, static_cast<std::int64_t>(scheduler_->retry_after() + 0.999)))});
  if (status == 401) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  log_at(LogLevel::kInfo, "request {} {} {} from {}: {} {}", request.id, request.method, request.path, request.peer,
         status, error.what);
  metrics_.request(label_of(request.path), status);
  exchange.send(std::move(response));
}

bool Service::strict_for(const Request& request) const {
  return options_.strict || request.header("x-hadal-strict") == "true" || request.header("x-hadal-strict") == "1";
}

std::optional<Response> Service::not_admitted(const Request& request, bool open) const {
  auto refused = [&](int status, const std::string& sentence) {
    Response r = dialect_of(request.path).error(status, {ErrorCode::kUsage, sentence}, request.id);
    if (status == 401) r.headers.push_back({"WWW-Authenticate", "Bearer"});
    return r;
  };
  if (!options_.keys.empty()) {
    if (open || options_.keys.admit(request)) return std::nullopt;
    return refused(401, "the API key is missing or not known here; send it as 'Authorization: Bearer KEY'");
  }
  // A web page that a user of this machine looks at may send requests here, under a name that leads to this address.
  if (options_.local_names && request.peer != "unix" && !names_this_machine(request.header("host")))
    return refused(
        403,
        "this server has no API key and answers only requests for localhost; start it with one to use another name");
  std::string_view origin = request.header("origin");
  if (options_.local_names && !origin.empty()) {
    const std::size_t slashes = origin.find("://");
    if (slashes == std::string_view::npos || !names_this_machine(origin.substr(slashes + 3)))
      return refused(403, "this server has no API key and answers no web pages of other machines");
  }
  return std::nullopt;
}

std::span<const Service::Route> Service::routes() {
  static const Route kRoutes[] = {
      {"POST", "/v1/chat/completions", &Service::chat},
      {"POST", "/v1/completions", &Service::completions},
      {"POST", "/v1/responses", &Service::responses},
      {"POST", "/v1/messages", &Service::messages},
      {"POST", "/v1/messages/count_tokens", &Service::count_tokens},
      {"GET", "/v1/models", &Service::models},
      {"GET", "/v1/models/*", &Service::models},
      {"*", "/v1/sessions", &Service::sessions},
      {"*", "/v1/sessions/*", &Service::sessions},
      {"POST", "/tokenize", &Service::tokenize},
      {"POST", "/detokenize", &Service::detokenize},
      {"GET", "/v1/jobs/*", &Service::job},
      {"DELETE", "/v1/jobs/*", &Service::job},
      {"GET", "/healthz", &Service::health, true},
      {"GET", "/readyz", &Service::ready, true},
      {"GET", "/metrics", &Service::metrics},
      {"GET", "/openapi.json", &Service::openapi, true},
      {"GET", "/", &Service::root, true},
      {"GET", "/web/*", &Service::web, true},
  };
  return kRoutes;
}

std::string_view Service::label_of(std::string_view path) {
  for (const Route& route : routes()) {
    const bool prefix = route.path.ends_with('*');
    if (prefix ? path.starts_with(route.path.substr(0, route.path.size() - 1)) : path == route.path) return route.path;
  }
  return "other";
}

void Service::handle(std::shared_ptr<Exchange> exchange) {
  const Request& request = exchange->request();
  std::string allowed;
  for (const Route& route : routes()) {
    const bool prefix = route.path.ends_with('*');
    const std::string_view path = prefix ? route.path.substr(0, route.path.size() - 1) : route.path;
    if (prefix ? !request.path.starts_with(path) || request.path.size() == path.size() : request.path != path) continue;
    const bool same =
        route.method == "*" || request.method == route.method || (request.method == "HEAD" && route.method == "GET");
    if (!same) {
      allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
      continue;
    }
    if (auto refused = not_admitted(request, route.open)) {
      metrics_.request(label_of(request.path), refused->status);
      return exchange->send(std::move(*refused));
    }
    return (this->*route.handler)(std::move(exchange));
  }
  if (allowed.empty())
    return fail_with(
        *exchange, 404,
        {ErrorCode::kNotFound, fmt::format("there is nothing at {}; /openapi.json lists what is", request.path)});
  Response response =
      dialect_of(request.path)
          .error(405, {ErrorCode::kUsage, fmt::format("{} takes {}, not {}", request.path, allowed, request.method)},
                 request.id);
  response.headers.push_back({"Allow", allowed});
  exchange->send(std::move(response));
}

// Answers.

void Service::answer(std::shared_ptr<Exchange> exchange, const Dialect& dialect) {
  const Request& request = exchange->request();
  auto go = [&]() -> Status {
    const JsonValue body = HADAL_TRY(parse_body(request.body));
    Ask ask = HADAL_TRY(dialect.read(body, request.body));
    return run(exchange, dialect, std::move(ask));
  };
  const Status status = go();
  if (!status) fail_with(*exchange, status_of(status.error().code), status.error());
}

Status Service::admit_warnings(const Request& request, const Ask& ask, std::vector<Header>& headers) const {
  if (ask.warnings.empty()) return {};
  if (strict_for(request)) return fail(ErrorCode::kUsage, "{}; this server was asked to be strict", ask.warnings[0]);
  std::string all;
  for (const std::string& w : ask.warnings) all += (all.empty() ? "" : "; ") + w;
  headers.push_back({"X-Hadal-Warning", ascii(all)});
  return {};
}

Result<SamplingOptions> Service::sampling_of(const Ask& ask) const {
  SamplingOptions s = sampling_;
  if (ask.temperature) s.temperature = *ask.temperature;
  if (ask.top_p) s.top_p = *ask.top_p;
  if (ask.min_p) s.min_p = *ask.min_p;
  if (ask.top_k) s.top_k = *ask.top_k;
  s.seed = ask.seed ? *ask.seed : random_seed();
  if (Status ok = check_sampling(s); !ok) return fail(ErrorCode::kUsage, "{}", ok.error().what);
  return s;
}

Result<Prompt> Service::prepare(Ask& ask, const std::string& request_id) {
  PromptSettings settings;
  settings.tokenizer = scheduler_->engine().tokenizer.get();
  settings.generation = options_.generation;
  settings.turns = options_.turns.get();
  settings.rewriting = &options_.rewriting;
  Prompt out = HADAL_TRY(make_prompt(ask, settings));
  if (options_.trace && !ask.raw) {
    std::string names;
    for (const std::string& n : out.rewritten) names += (names.empty() ? "" : ", ") + chat::json_string(n);
    options_.trace->line(
        request_id, "rendered",
        fmt::format("\"tokens\": {}, \"turns_as_sampled\": {}, \"turns_rendered\": {}, \"rules\": [{}], \"text\": {}",
                    out.ids.size(), out.remembered, out.rendered, names, chat::json_string(out.text)));
  }
  return out;
}

void Service::remember(const std::vector<chat::Message>& messages, const Answer& answer, TokenId opener) {
  if (!answer.memorable()) return;
  chat::Message message = answer.turn().message();
  std::size_t closed = 0;
  for (std::size_t c = 0; c < answer.turn().calls.size(); ++c)
    if (answer.turn().calls[c].closed) message.tool_calls[closed++].id = answer.call_id(static_cast<int>(c));
  std::vector<TokenId> ids{opener};
  ids.insert(ids.end(), answer.ids().begin(), answer.ids().end());
  options_.turns->remember(chat::turn_keys(messages, message), std::move(ids));
}

std::string Service::keyed_job(const Request& request, const Ask& ask) const {
  const std::string_view key = request.header("idempotency-key");
  if (key.empty()) return "";
  return fmt::format("{}/{}/", options_.keys.empty() ? ask.client : options_.keys.admit(request).value_or(""), key);
}

Status Service::run(std::shared_ptr<Exchange> exchange, const Dialect& dialect, Ask ask) {
  const Request& request = exchange->request();
  if (draining_) return fail(ErrorCode::kBusy, "the server is shutting down; try again in a moment");
  if (!ask.model.empty() && ask.model != options_.model)
    ask.warnings.push_back(fmt::format("the model '{}' is not here; '{}' answers", ask.model, options_.model));
  std::vector<Header> headers;
  HADAL_CHECK_OK(admit_warnings(request, ask, headers));
  Prompt prepared = HADAL_TRY(prepare(ask, request.id));

  JobRequest job;
  job.sampling = HADAL_TRY(sampling_of(ask));
  job.borders = prepared.borders;
  job.max_tokens = ask.max_tokens;
  job.top_logprobs = ask.top_logprobs;
  job.stop = prepared.job_stop;
  job.thinking_budget = ask.thinking ? ask.thinking_budget : -1;
  job.after_thinking = prepared.after_thinking;
  job.client = options_.keys.empty() ? ask.client : options_.keys.admit(request).value_or("");
  const std::string_view detach = request.header("x-hadal-detach");
  job.detached = detach == "true" || detach == "1";
  const std::string key(request.header("idempotency-key"));
  if (key.size() > 200) return fail(ErrorCode::kUsage, "the Idempotency-Key has more than 200 characters");

  if (options_.trace) {
    // What the answer's own lookup will find, put down before it is asked.
    const auto tell = [trace = options_.trace, id = request.id, tokenizer = scheduler_->engine().tokenizer,
                       places = message_places(prepared, ask),
                       tokens = std::ssize(prepared.ids)](const PrefixMiss& miss) {
      const Parting parting{miss.agree, miss.asked, miss.kept};
      trace->line(id, "cache",
                  fmt::format("\"tokens\": {}, \"kept\": {}, {}", tokens, miss.boundary,
                              parting_members(*tokenizer, parting, places)));
    };
    scheduler_->explain(prepared.ids, tell);
  }
  Attachable what;
  what.dialect = &dialect;
  what.reading = prepared.reading;
  what.opener = prepared.opener;
  job.session = ask.session;
  std::vector<JobRequest> forks = HADAL_TRY(instruction_forks(ask, prepared));
  for (std::int64_t i = 0; i < ask.answers; ++i) {
    JobRequest one = job;
    one.prompt = prepared.ids;
    one.stream = static_cast<std::uint64_t>(i);
    // Keys of different clients are different keys.
    if (!key.empty()) one.id = keyed_job(request, ask) + std::to_string(i);
    auto submitted = scheduler_->submit(std::move(one), std::exchange(forks, {}));
    if (!submitted) {
      for (const auto& j : what.jobs) j->cancel();
      return std::unexpected(submitted.error());
    }
    for (auto& made : *submitted) what.jobs.push_back(std::move(made));
  }
  what.head = {key.empty() ? request.id : fmt::format("{:016x}", std::hash<std::string>()(what.jobs[0]->id())),
               options_.model,
               seconds_now(),
               static_cast<std::int64_t>(prepared.ids.size()),
               {},
               what.jobs[0]->session(),
               key.empty() ? what.jobs[0]->id() : key,
               0,
               {}};
  if (!ask.session.empty()) {
    // The header's two tokens, or what there is of the turn: the opener and what follows it.
    const auto turn = std::max<Position>(1, std::ssize(ask.turn_so_far));
    what.head.turn_from = what.head.prompt_tokens - turn - 1;
    what.reading.call_prefix = fmt::format("call_{}_", what.head.turn_from);
    what.head.meter = [this](Position tokens) { return sessions_->meter_json(tokens, std::nullopt); };
    what.prompt = std::make_shared<const std::vector<TokenId>>(prepared.ids);
    what.save_title = std::ranges::count(ask.instructions, "title") > 0;
  }
  what.reading.call_seed = seed_of(what.jobs[0]->id(), prepared.ids);
  // A turn that goes on is not remembered: its place is not among these messages.
  if (ask.turn_so_far.empty())
    what.messages = std::make_shared<const std::vector<chat::Message>>(std::move(ask.messages));
  if (ask.echo) what.head.prompts.push_back(ask.prompt);
  const bool stream = ask.stream;
  what.ask = std::make_shared<const Ask>(std::move(ask));
  const std::string name = key.empty() ? what.jobs[0]->id() : key;
  headers.push_back({"X-Hadal-Job", name});
  if (!what.jobs[0]->session().empty()) headers.push_back({"X-Hadal-Session", what.jobs[0]->session()});
  if (!key.empty() || job.detached) {
    const std::lock_guard lock(mutex_);
    const std::string owned = job.client + "/" + name;
    if (attachable_.emplace(owned, what).second) attachable_order_.push_back(owned);
    while (attachable_order_.size() > kMostAttachable) {
      attachable_.erase(attachable_order_.front());
      attachable_order_.pop_front();
    }
  }
  attach(std::move(exchange), what, stream, job.detached, std::move(headers));
  return {};
}

void Service::attach(std::shared_ptr<Exchange> exchange, const Attachable& what, bool stream, bool detached,
                     std::vector<Header> headers) {
  Answering::Parts parts;
  parts.dialect = what.dialect;
  parts.writer = what.dialect->writer(what.ask, what.head);
  parts.jobs = what.jobs;
  parts.asked = what.prompt ? 1 : what.jobs.size();
  for (std::size_t i = 0; i < what.jobs.size(); ++i) {
    if (i >= parts.asked) {
      parts.answers.push_back(
          std::make_unique<Answer>(*scheduler_->engine().tokenizer, instruction_reading(), sampling_.stop_ids));
      continue;
    }
    AnswerOptions reading = what.reading;
    reading.call_seed += fmt::format(" {}", i);
    parts.answers.push_back(
        std::make_unique<Answer>(*scheduler_->engine().tokenizer, std::move(reading), sampling_.stop_ids));
  }
  parts.headers = std::move(headers);
  parts.stream = stream;
  parts.detached = detached;
  parts.heartbeat_seconds = options_.heartbeat_seconds;
  parts.progress_seconds = options_.progress_seconds;
  const bool alone = what.dialect == &quick_instructions();
  parts.on_answer = [this, what, alone, asked = parts.asked, forks = what.jobs.size(), id = exchange->request().id](
                        const Answer& answer, std::size_t index) {
    std::vector<Answering::Beside> beside;
    const bool titles = std::ranges::count(what.ask->instructions, "title") > 0;
    if (index < asked && !alone && what.messages) remember(*what.messages, answer, what.opener);
    if (index == 0 && !alone && titles) beside = begin_title(what, answer);
    if (what.save_title && index == (alone ? 0 : forks) && answer.finish() == Finish::kStop)
      save_title(what.ask->session, answer.turn().content);
    metrics_.answer(answer.usage());
    const JobUsage& u = answer.usage();
    if (options_.trace)
      options_.trace->line(
          id, "answered",
          fmt::format("\"answer\": {}, \"prompt_tokens\": {}, \"cached_tokens\": {}, \"generated_tokens\": {}, "
                      "\"queue_seconds\": {:.4f}, \"prefill_seconds\": {:.4f}, \"decode_seconds\": {:.4f}",
                      index, u.prompt, u.cached, u.generated, u.queue_seconds, u.prefill_seconds, u.decode_seconds));
    return beside;
  };
  parts.on_finished = [this](Answering& done) {
    const Request& request = done.parts().exchange->request();
    std::int64_t prompt = 0, cached = 0, generated = 0;
    for (const auto& a : std::span(done.parts().answers).first(done.parts().asked)) {
      prompt = a->usage().prompt;
      cached = std::max(cached, a->usage().cached);
      generated += a->usage().generated;
    }
    const bool left = done.parts().exchange->closed();
    metrics_.request(label_of(request.path), left ? 499 : 200);
    log_at(LogLevel::kInfo, "request {} {} {} from {}: {} prompt tokens, {} of them cached, {} generated{}", request.id,
           request.method, request.path, request.peer, prompt, cached, generated, left ? ", client left" : "");
    const std::lock_guard lock(mutex_);
    live_.erase(&done);
  };
  parts.exchange = std::move(exchange);
  auto answering = std::make_shared<Answering>(std::move(parts));
  {
    const std::lock_guard lock(mutex_);
    live_[answering.get()] = answering;
  }
  answering->start();
}

void Service::drain() {
  draining_ = true;
  scheduler_->drain();
}

}  // namespace hadal::serve
