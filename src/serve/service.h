// The server's own logic: which request goes where, and what is asked of the scheduler for it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "chat/generation.h"
#include "serve/answering.h"
#include "serve/dialect.h"
#include "serve/http.h"
#include "serve/keys.h"
#include "serve/metrics.h"
#include "serve/prompt.h"
#include "serve/rewriting.h"
#include "serve/sessions.h"
#include "serve/trace.h"
#include "serve/turns.h"
#include "sessions/scheduler.h"

namespace hadal::serve {

struct ServiceOptions {
  std::string model;  // the name clients see
  chat::Generation generation = chat::Generation::kPreview;
  Keys keys;                // empty: nobody needs one
  bool strict = false;      // what would be a warning is an error
  bool local_names = true;  // requests must name this machine as their host, so that web pages cannot reach the server
  Rewriting rewriting;
  std::shared_ptr<Turns> turns;  // null: in memory
  std::shared_ptr<Trace> trace;  // null: none
  double heartbeat_seconds = 10;
  double progress_seconds = 1;  // between two reports of a prompt being read, in streams
};

class Service {
 public:
  Service(std::unique_ptr<Scheduler> scheduler, ServiceOptions options);

  // For HttpServer.
  void handle(std::shared_ptr<Exchange> exchange);
  Response refuse(std::string_view path, int status, const std::string& sentence) const;
  // Where /metrics reads the transport's counters. Requests may already be running; after it returns the function given
  // before is not called any more.
  void set_counters(std::function<HttpCounters()> counters);

  // New requests for answers are refused from now on; returns when the running ones have stopped.
  void drain();
  const Scheduler& scheduler() const { return *scheduler_; }

 private:
  using Handler = void (Service::*)(std::shared_ptr<Exchange>);
  struct Route {
    std::string_view method, path;
    Handler handler;
    bool open = false;  // needs no key
  };
  static std::span<const Route> routes();
  // The route's path, or "other": what clients make up must not become names of metrics.
  static std::string_view label_of(std::string_view path);

  const Dialect& dialect_of(std::string_view path) const;
  std::optional<Response> not_admitted(const Request& request, bool open) const;
  void fail_with(Exchange& exchange, int status, const Error& error) const;
  bool strict_for(const Request& request) const;

  void answer(std::shared_ptr<Exchange> exchange, const Dialect& dialect);
  Status run(std::shared_ptr<Exchange> exchange, const Dialect& dialect, Ask ask);
  Result<Prompt> prepare(Ask& ask, const std::string& request_id);
  Result<SamplingOptions> sampling_of(const Ask& ask) const;
  void remember(const std::vector<chat::Message>& messages, const Answer& answer, TokenId opener);
  // The scheduler's name for the first answer to a request with an idempotency key; empty without one.
  std::string keyed_job(const Request& request, const Ask& ask) const;
  Status admit_warnings(const Request& request, const Ask& ask, std::vector<Header>& headers) const;

  void chat(std::shared_ptr<Exchange> e) { answer(std::move(e), openai_chat()); }
  void completions(std::shared_ptr<Exchange> e) { answer(std::move(e), openai_completions()); }
  void responses(std::shared_ptr<Exchange> e) { answer(std::move(e), openai_responses()); }
  void messages(std::shared_ptr<Exchange> e) { answer(std::move(e), anthropic_messages()); }
  void count_tokens(std::shared_ptr<Exchange> e);
  void models(std::shared_ptr<Exchange> e);
  void tokenize(std::shared_ptr<Exchange> e);
  void detokenize(std::shared_ptr<Exchange> e);
  void health(std::shared_ptr<Exchange> e);
  void ready(std::shared_ptr<Exchange> e);
  void metrics(std::shared_ptr<Exchange> e);
  void openapi(std::shared_ptr<Exchange> e);
  void root(std::shared_ptr<Exchange> e);
  void web(std::shared_ptr<Exchange> e);
  void job(std::shared_ptr<Exchange> e);

  void sessions(std::shared_ptr<Exchange> e);
  Result<std::optional<Response>> route_session(const std::shared_ptr<Exchange>& exchange);

  // What is needed to answer again when somebody re-attaches to a job.
  struct Attachable {
    const Dialect* dialect;
    std::shared_ptr<const Ask> ask;
    AnswerHead head;
    AnswerOptions reading;
    std::vector<std::shared_ptr<Job>> jobs;
    std::shared_ptr<const std::vector<chat::Message>> messages;
    TokenId opener{};
    std::shared_ptr<const std::vector<TokenId>> prompt;  // native only
    bool save_title = false;
  };
  // Quick Instructions (service_sessions.cc).
  JobRequest instruction_job(std::vector<TokenId> prompt) const;
  static AnswerOptions instruction_reading();
  Result<std::vector<JobRequest>> instruction_forks(const Ask& ask, const Prompt& prompt) const;
  std::vector<Answering::Beside> begin_title(const Attachable& what, const Answer& answer);
  void save_title(const std::string& session, const std::string& text);
  Status instruct(const std::shared_ptr<Exchange>& exchange, const std::string& session, const JsonValue& body);

  void attach(std::shared_ptr<Exchange> exchange, const Attachable& what, bool stream, bool detached,
              std::vector<Header> headers);

  std::unique_ptr<Sessions> sessions_;  // before the scheduler, whose thread may still answer it
  std::unique_ptr<Scheduler> scheduler_;
  ServiceOptions options_;
  SamplingOptions sampling_;  // the release's defaults
  std::int64_t context_ = 0;
  std::int64_t started_ = 0;
  mutable Metrics metrics_;
  mutable std::mutex counters_mutex_;
  std::function<HttpCounters()> counters_;  // under counters_mutex_, calls included
  std::atomic<bool> draining_{false};
  std::mutex mutex_;  // guards what follows
  std::map<const Answering*, std::shared_ptr<Answering>> live_;
  std::map<std::string, Attachable> attachable_;  // by the name a client gave or was given
  std::deque<std::string> attachable_order_;      // oldest first
};

}  // namespace hadal::serve
