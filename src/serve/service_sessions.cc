// /v1/sessions: which part of the native API a request is for.
#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "chat/templates.h"
#include "serve/native.h"
#include "serve/openai.h"
#include "serve/query.h"
#include "serve/service.h"
#include "serve/sessions.h"
#include "serve/sessions_json.h"

namespace hadal::serve {
namespace {

constexpr std::string_view kRoot = "/v1/sessions";

// A body that may be absent.
Result<JsonValue> optional_body(const std::string& body) {
  if (body.find_first_not_of(" \t\r\n") == std::string::npos) return parse_body("{}");
  return parse_body(body);
}

}  // namespace

void Service::sessions(std::shared_ptr<Exchange> exchange) {
  const Request& request = exchange->request();
  const auto answered = route_session(exchange);
  if (!answered) return fail_with(*exchange, status_of(answered.error().code), answered.error());
  if (!answered->has_value()) return;  // is answered later
  metrics_.request(label_of(request.path), (*answered)->status);
  exchange->send(std::move(**answered));
}

// The whole answer, or nothing when it comes later.
Result<std::optional<Response>> Service::route_session(const std::shared_ptr<Exchange>& exchange) {
  const Request& request = exchange->request();
  HADAL_CHECK_OK(sessions_->there());
  const std::string& method = request.method;
  const bool get = method == "GET" || method == "HEAD", post = method == "POST";
  const auto document = [](std::string body, int status = 200) -> std::optional<Response> {
    return Response{status, "application/json", {}, std::move(body)};
  };
  const auto wrong_method = [&](const char* takes) -> Result<std::optional<Response>> {
    Response r =
        openai_error(405, {ErrorCode::kUsage, fmt::format("{} takes {}, not {}", request.path, takes, method)});
    r.headers.push_back({"Allow", takes});
    return r;
  };
  std::string_view rest = std::string_view(request.path).substr(kRoot.size());
  if (rest.starts_with('/')) rest.remove_prefix(1);
  if (rest.empty()) {
    if (get) {
      const std::int64_t limit = HADAL_TRY(query_number(request.query, "limit", 1, 1000)).value_or(50);
      return document(HADAL_TRY(sessions_->list(limit, query_value(request.query, "after"))));
    }
    if (!post) return wrong_method("GET, POST");
    const JsonValue body = HADAL_TRY(optional_body(request.body));
    return document(HADAL_TRY(sessions_->create(body, request.body)), 201);
  }
  const std::size_t slash = rest.find('/');
  const std::string id(rest.substr(0, slash));
  const std::string what(slash == std::string_view::npos ? "" : rest.substr(slash + 1));
  if (id == "import" && what.empty()) {
    if (!post) return wrong_method("POST");
    return document(HADAL_TRY(sessions_->import_file(request.body, query_value(request.query, "as"),
                                                     query_value(request.query, "any_model") == "true")),
                    201);
  }
  if (!valid_session_id(id)) return fail(ErrorCode::kNotFound, "there is no session of that name");
  const std::int64_t branch = HADAL_TRY(query_number(request.query, "branch", 0, INT32_MAX)).value_or(-1);
  if (what.empty()) {
    if (get) return document(HADAL_TRY(sessions_->show(id)));
    if (method == "DELETE") return document(HADAL_TRY(sessions_->remove(id)));
    if (method != "PATCH") return wrong_method("GET, PATCH, DELETE");
    const JsonValue body = HADAL_TRY(parse_body(request.body));
    Fields f = HADAL_TRY(Fields::of(body, ""));
    const auto title = HADAL_TRY(f.required_text("title"));
    return document(HADAL_TRY(sessions_->set_title(id, title)));
  }
  if (what == "messages" && get) return document(HADAL_TRY(sessions_->messages(id, branch)));
  if (what == "branches") return get ? document(HADAL_TRY(sessions_->branches(id))) : wrong_method("GET");
  if (what == "diff") {
    if (!get) return wrong_method("GET");
    const auto a = HADAL_TRY(query_number(request.query, "a", 0, INT32_MAX));
    const auto b = HADAL_TRY(query_number(request.query, "b", 0, INT32_MAX));
    if (!a || !b) return fail(ErrorCode::kUsage, "'a' and 'b' name the branches to compare: ?a=0&b=1");
    return document(HADAL_TRY(sessions_->diff(id, *a, *b)));
  }
  if (what == "export") {
    if (!get) return wrong_method("GET");
    Response r{200, "application/octet-stream", {}, HADAL_TRY(sessions_->export_file(id))};
    r.headers.push_back({"Content-Disposition", fmt::format("attachment; filename=\"{}.hadal-session\"", id)});
    return r;
  }
  if (what == "meter") {
    if (!get) return wrong_method("GET");
    HADAL_CHECK_OK(sessions_->meter(id, branch, [exchange](std::string body) {
      exchange->later([exchange, body = std::move(body)] { exchange->send({200, "application/json", {}, body}); });
    }));
    return std::nullopt;
  }
  if (what != "messages" && what != "generate" && what != "instruct" && what != "fork" && what != "rewind")
    return fail(ErrorCode::kNotFound, "a session has no '{}'; /openapi.json lists what it has", what.substr(0, 64));
  if (!post) return wrong_method(what == "messages" ? "GET, POST" : "POST");
  const JsonValue body = HADAL_TRY(optional_body(request.body));
  if (what == "messages") return document(HADAL_TRY(sessions_->append(id, body, request.body)));
  if (what == "fork") return document(HADAL_TRY(sessions_->fork(id, body)), 201);
  if (what == "rewind") return document(HADAL_TRY(sessions_->rewind(id, body)));
  if (what == "instruct") {
    HADAL_CHECK_OK(instruct(exchange, id, body));
    return std::nullopt;
  }
  Ask ask = HADAL_TRY(native_sessions().read(body, request.body));
  const std::string job = keyed_job(request, ask);
  HADAL_CHECK_OK(sessions_->complete(id, ask, job.empty() ? "" : job + "0"));
  HADAL_CHECK_OK(run(exchange, native_sessions(), std::move(ask)));
  return std::nullopt;
}

JobRequest Service::instruction_job(std::vector<TokenId> prompt) const {
  JobRequest job;
  job.prompt = std::move(prompt);
  job.sampling = sampling_;
  job.sampling.temperature = 0;  // a classification, not a text: the likeliest answer
  job.max_tokens = kInstructionTokens;
  job.unlogged = true;
  return job;
}

AnswerOptions Service::instruction_reading() {
  AnswerOptions reading;
  reading.raw = true;
  reading.tools = std::make_shared<const chat::ToolTypes>();
  return reading;
}

// Prompts of the instructions that run beside an answer, but for the title, which follows it.
Result<std::vector<JobRequest>> Service::instruction_forks(const Ask& ask, const Prompt& prompt) const {
  std::vector<JobRequest> out;
  const Tokenizer& tokenizer = *scheduler_->engine().tokenizer;
  for (const std::string& task : ask.instructions) {
    if (std::ranges::count(ask.instructions, task) > 1)
      return fail(ErrorCode::kUsage, "'instructions' names '{}' twice", task);
    if (task == "read_url")
      return fail(ErrorCode::kUsage, "'instructions' cannot have read_url, which needs a URL; ask for it alone");
    const std::vector<TokenId> own = HADAL_TRY(instruction_tokens(tokenizer, task, ""));
    if (task == "title") continue;
    if (!ask.turn_so_far.empty())
      return fail(ErrorCode::kUsage, "'instructions' has '{}', which is about a user's message; 'continue' has none",
                  task);
    std::vector<TokenId> ids = prompt.ids;
    if (task != "action") {  // the others stand before the header of the answer
      const auto header = tokenizer.find_added(chat::text::kAssistant);
      while (!ids.empty() && ids.back() != header) ids.pop_back();
      if (!ids.empty()) ids.pop_back();
    }
    ids.insert(ids.end(), own.begin(), own.end());
    out.push_back(instruction_job(std::move(ids)));
  }
  return out;
}

// When the answer is there, its title begins.
std::vector<Answering::Beside> Service::begin_title(const Attachable& what, const Answer& answer) {
  std::vector<Answering::Beside> out;
  const auto eos = scheduler_->engine().tokenizer->find_added(chat::text::kEos);
  if (!eos || answer.finish() == Finish::kError || answer.finish() == Finish::kCancelled) return out;
  std::vector<TokenId> ids = *what.prompt;
  const auto before = static_cast<std::ptrdiff_t>(answer.options().before.size());
  ids.insert(ids.end(), answer.ids().begin() + before, answer.ids().end());
  if (ids.back() != *eos) ids.push_back(*eos);
  const auto own = instruction_tokens(*scheduler_->engine().tokenizer, "title", "");
  if (!own) return out;
  ids.insert(ids.end(), own->begin(), own->end());
  auto job = scheduler_->submit(instruction_job(std::move(ids)));
  if (!job) {
    log_at(LogLevel::kInfo, "no title for session {}: {}", what.ask->session, job.error().what);
    return out;
  }
  out.push_back({std::move(*job),
                 std::make_unique<Answer>(*scheduler_->engine().tokenizer, instruction_reading(), sampling_.stop_ids)});
  return out;
}

void Service::save_title(const std::string& session, const std::string& text) {
  std::string title = text.substr(0, text.find('\n'));
  while (title.size() > kMostTitle ||
         (!title.empty() && (static_cast<unsigned char>(title.back()) & 0xC0) == 0x80 && title.size() > kMostTitle - 4))
    title.pop_back();
  if (title.empty()) return;
  if (auto saved = sessions_->set_title(session, title); !saved)
    log_at(LogLevel::kInfo, "session {} gets no title: {}", session, saved.error().what);
}

// A Quick Instruction alone. Its own answer is one small document, so nothing is streamed.
Status Service::instruct(const std::shared_ptr<Exchange>& exchange, const std::string& session, const JsonValue& body) {
  if (draining_) return fail(ErrorCode::kBusy, "the server is shutting down; try again in a moment");
  Fields f = HADAL_TRY(Fields::of(body, ""));
  const std::string task = HADAL_TRY(f.required_text("task"));
  const std::string url = HADAL_TRY(f.text("url")).value_or("");
  const bool save = HADAL_TRY(f.flag("save")).value_or(true);
  auto ask = std::make_shared<Ask>();
  ask->session = session;
  ask->instructions = {task};
  Attachable what;
  what.dialect = &quick_instructions();
  what.prompt = std::make_shared<const std::vector<TokenId>>(HADAL_TRY(sessions_->instruction(session, task, url)));
  what.ask = ask;
  what.reading = instruction_reading();
  what.save_title = save && task == "title";
  JobRequest job = instruction_job(*what.prompt);
  job.client = options_.keys.empty() ? "" : options_.keys.admit(exchange->request()).value_or("");
  what.jobs.push_back(HADAL_TRY(scheduler_->submit(std::move(job))));
  attach(exchange, what, false, false, {});
  return {};
}

}  // namespace hadal::serve
