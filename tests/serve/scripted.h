// A scheduler whose model writes what a test says, and an exchange that needs no socket.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/templates.h"
#include "files/file_set.h"
#include "sampling/stop_strings.h"
#include "serve/service.h"
#include "sessions/scheduler.h"

namespace hadal::serve {

inline const Engine& nano_files() {
  static const Engine engine = [] {
    Engine e;  // no model: nothing is computed
    e.checkpoint = Checkpoint::open(FileSet::directory(std::string(HADAL_SOURCE_DIR) + "/nano/weights")).value();
    e.tokenizer = read_tokenizer(*e.checkpoint).value();
    e.generation = read_generation_config(*e.checkpoint).value();
    if (e.generation.eos_token_ids.empty()) e.generation.eos_token_ids = {TokenId{e.checkpoint->config().eos_token_id}};
    return e;
  }();
  return engine;
}

class ScriptedJob final : public Job {
 public:
  ScriptedJob(std::string id, std::vector<JobEvent> events) : id_(std::move(id)), events_(std::move(events)) {}
  const std::string& id() const override { return id_; }
  const std::string& session() const override { return session_; }
  bool finished() const override { return true; }
  std::shared_ptr<void> listen(std::int64_t from, Listener listener) override {
    for (const JobEvent& e : events_)
      if (e.kind != JobEvent::Kind::kToken || e.token.index >= from) listener(e);
    return std::make_shared<int>(0);
  }
  void cancel() override { cancelled = true; }
  bool cancelled = false;

 private:
  std::string id_, session_;
  std::vector<JobEvent> events_;
};

class Scripted final : public Scheduler {
 public:
  std::string completion;               // what the model writes; markers spelled in it are their tokens
  bool by_bytes = false;                // one token for every byte, where the vocabulary has it
  bool ends = true;                     // false: the limit cuts the completion off
  bool busy = false;                    // refuses
  std::vector<std::int64_t> read = {};  // reports of the prompt's reading, out of 1,000 tokens, 100 of them cached
  std::vector<JobRequest> asked;
  std::vector<std::shared_ptr<ScriptedJob>> jobs;

  const Engine& engine() const override { return nano_files(); }
  using Scheduler::submit;
  Result<std::shared_ptr<Job>> submit(JobRequest request) override {
    if (busy) return fail(ErrorCode::kBusy, "every place in line is taken; try again later");
    HADAL_CHECK_OK(check_sampling(request.sampling));
    if (auto stops = StopStrings::make(request.stop); !stops) return std::unexpected(stops.error());
    asked.push_back(request);
    const std::string id = request.id.empty() ? "job-" + std::to_string(asked.size()) : request.id;
    for (const auto& j : jobs)
      if (j->id() == id) return j;
    jobs.push_back(std::make_shared<ScriptedJob>(id, events_of(request)));
    return jobs.back();
  }
  std::shared_ptr<Job> find(std::string_view) const override { return nullptr; }
  double retry_after() const override { return 3; }
  void drain() override {}
  SchedulerStats stats() const override { return {}; }

  std::vector<TokenId> ids() const {
    const Tokenizer& t = *engine().tokenizer;
    std::vector<TokenId> out;
    std::string_view rest = completion;
    while (!rest.empty()) {
      std::size_t next = rest.size();
      std::string_view marker;
      for (std::string_view m : {chat::text::kThinkOpen, chat::text::kThinkClose, chat::text::kDsml, chat::text::kEos})
        if (const std::size_t at = rest.find(m); at < next) {
          next = at;
          marker = m;
        }
      if (by_bytes)
        for (std::size_t i = 0; i < next; ++i) t.encode_literal(rest.substr(i, 1), out);
      else
        t.encode_literal(rest.substr(0, next), out);
      if (!marker.empty()) out.push_back(*t.find_added(marker));
      rest.remove_prefix(next + marker.size());
    }
    if (ends) out.push_back(engine().generation.eos_token_ids[0]);
    return out;
  }

 private:
  std::vector<JobEvent> events_of(const JobRequest& request) const {
    const Tokenizer& t = *engine().tokenizer;
    const TokenId close = *t.find_added(chat::text::kThinkClose);
    StopStrings stops = StopStrings::make(request.stop).value();
    std::vector<JobEvent> out;
    JobEvent done;
    done.kind = JobEvent::Kind::kDone;
    done.finish = ends ? JobFinish::kStop : JobFinish::kLength;
    done.usage.prompt = static_cast<std::int64_t>(request.prompt.size());
    for (const std::int64_t n : read) {
      JobEvent progress;
      progress.kind = JobEvent::Kind::kPrefill;
      progress.done = n;
      progress.total = 1000;
      progress.cached = 100;
      out.push_back(progress);
    }
    bool thinking = request.prompt.back() == *t.find_added(chat::text::kThinkOpen);
    std::vector<std::pair<TokenId, bool>> tokens;
    auto splice = [&] {
      for (TokenId id : request.after_thinking) tokens.emplace_back(id, true);
    };
    if (!thinking) splice();
    for (TokenId id : ids()) {
      tokens.emplace_back(id, false);
      if (thinking && id == close) {
        thinking = false;
        splice();
      }
    }
    for (const auto& [id, spliced] : tokens) {
      if (request.max_tokens >= 0 && done.usage.generated >= request.max_tokens) {
        done.finish = JobFinish::kLength;
        break;
      }
      JobEvent e;
      e.token.index = done.usage.generated++;
      e.token.sampled.id = id;
      e.token.sampled.raw_logprob = -0.5;
      e.token.spliced = spliced;
      for (int k = 0; k < request.top_logprobs; ++k) e.token.top.push_back(e.token.sampled);
      out.push_back(e);
      const auto step = stops.feed(t.bytes_of(id));
      if (step.stop >= 0) {
        done.finish = JobFinish::kStopString;
        done.stop_index = step.stop;
        break;
      }
    }
    out.push_back(done);
    return out;
  }
};

class FakeExchange final : public Exchange {
 public:
  explicit FakeExchange(Request request) : request_(std::move(request)) {}
  const Request& request() const override { return request_; }
  void send(Response response) override {
    answer = std::move(response);
    complete = true;
  }
  void start(Response head, std::string, double) override {
    stream = std::move(head.body);
    answer = std::move(head);
    streamed = true;
  }
  void write(std::string piece) override { stream += piece; }
  void finish() override { complete = true; }
  std::size_t unsent() const override { return 0; }
  bool closed() const override { return false; }
  void on_closed(std::function<void()>) override {}
  void on_drained(std::function<void()>) override {}
  void later(std::function<void()> work) override { work_.push_back(std::move(work)); }
  void run() {
    while (!work_.empty()) {
      auto work = std::move(work_.front());
      work_.pop_front();
      work();
    }
  }
  Response answer;
  std::string stream;
  bool complete = false, streamed = false;

 private:
  Request request_;
  std::deque<std::function<void()>> work_;
};

struct Station {
  Scripted* model;  // owned by the service
  std::unique_ptr<Service> service;
  explicit Station(ServiceOptions options = {}) {
    auto scheduler = std::make_unique<Scripted>();
    model = scheduler.get();
    if (options.model.empty()) options.model = "nano";
    service = std::make_unique<Service>(std::move(scheduler), std::move(options));
  }
  std::shared_ptr<FakeExchange> ask(std::string method, std::string path, std::string body,
                                    std::vector<Header> headers = {}) {
    Request r;
    r.id = "request";
    r.method = std::move(method);
    r.path = std::move(path);
    r.body = std::move(body);
    r.headers = std::move(headers);
    r.peer = "test";
    auto exchange = std::make_shared<FakeExchange>(std::move(r));
    service->handle(exchange);
    exchange->run();
    EXPECT_TRUE(exchange->complete) << exchange->request().path;
    return exchange;
  }
};

}  // namespace hadal::serve
