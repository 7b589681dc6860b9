// The service with the shipped model behind it, without sockets.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>

#include "serve/service.h"
#include "sessions/session_identity.h"
#include "support/tiny_checkpoint.h"

namespace hadal::serve {

inline const Engine& nano_engine() {
  static const Engine engine = [] {
    EngineOptions options;
    options.model.threads = 1;
    auto checkpoint = Checkpoint::open(FileSet::directory(std::string(HADAL_SOURCE_DIR) + "/nano/weights"));
    return Engine::open(*checkpoint, options).value();
  }();
  return engine;
}

// Whoever asks runs what is left for later, until the answer is complete.
class WaitingExchange final : public Exchange {
 public:
  explicit WaitingExchange(Request request) : request_(std::move(request)) {}
  const Request& request() const override { return request_; }
  void send(Response response) override {
    answer = std::move(response);
    complete = true;
  }
  void start(Response head, std::string, double) override {
    stream = std::move(head.body);
    answer = std::move(head);
  }
  void write(std::string piece) override { stream += piece; }
  void finish() override { complete = true; }
  std::size_t unsent() const override { return 0; }
  bool closed() const override { return gone_; }
  void on_closed(std::function<void()> call) override { closed_ = std::move(call); }
  void on_drained(std::function<void()>) override {}
  void later(std::function<void()> work) override {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    changed_.notify_all();
  }
  // Until the answer is complete or `enough` says so.
  void run(const std::function<bool()>& enough = [] { return false; }) {
    while (!complete && !enough()) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, std::chrono::seconds(60), [&] { return !work_.empty(); })) return;
        work = std::move(work_.front());
        work_.pop_front();
      }
      work();
    }
  }
  // What there is to do, without waiting for more.
  void run_ready() {
    for (;;) {
      std::function<void()> work;
      {
        const std::lock_guard lock(mutex_);
        if (work_.empty()) return;
        work = std::move(work_.front());
        work_.pop_front();
      }
      work();
    }
  }
  void leave() {
    gone_ = true;
    if (closed_) closed_();
  }
  Response answer;
  std::string stream;
  bool complete = false;

 private:
  Request request_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  std::function<void()> closed_;
  bool gone_ = false;
};

struct Event {
  std::string name;
  nlohmann::ordered_json data;
};

inline std::vector<Event> events_in(const std::string& stream) {
  std::vector<Event> out;
  std::istringstream lines(stream);
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("event: ")) name = line.substr(7);
    if (line.starts_with("data: {")) out.push_back({name, nlohmann::ordered_json::parse(line.substr(6))});
  }
  return out;
}

class Live {
 public:
  using Json = nlohmann::ordered_json;

  explicit Live(const std::string& data, ServiceOptions options = {}) {
    SchedulerOptions scheduler;
    scheduler.data = data;
    scheduler.model_name = options.model = "nano";
    if (!data.empty() && !options.turns) {
      auto turns = open_turn_memory(data, "nano");
      EXPECT_TRUE(turns.has_value()) << turns.error().what;
      options.turns = std::make_shared<Turns>(std::move(*turns));
    }
    auto started = Scheduler::start(nano_engine(), scheduler);
    EXPECT_TRUE(started.has_value()) << started.error().what;
    service = std::make_unique<Service>(std::move(*started), std::move(options));
  }

  std::shared_ptr<WaitingExchange> begin(const std::string& method, const std::string& path, const std::string& body,
                                         std::vector<Header> headers = {}) {
    Request r;
    r.id = "request";
    r.method = method;
    r.path = path.substr(0, path.find('?'));
    if (r.path.size() < path.size()) r.query = path.substr(r.path.size() + 1);
    r.body = body;
    r.headers = std::move(headers);
    r.peer = "test";
    auto exchange = std::make_shared<WaitingExchange>(std::move(r));
    service->handle(exchange);
    return exchange;
  }
  std::shared_ptr<WaitingExchange> ask(const std::string& method, const std::string& path, const std::string& body = "",
                                       std::vector<Header> headers = {}) {
    auto exchange = begin(method, path, body, std::move(headers));
    exchange->run();
    EXPECT_TRUE(exchange->complete) << path;
    return exchange;
  }
  // The answer's document; its status must be as said.
  Json json(const std::string& method, const std::string& path, const Json& body = nullptr, int status = 200) {
    const auto e = ask(method, path, body.is_null() ? "" : body.dump());
    EXPECT_EQ(e->answer.status, status) << path << ": " << e->answer.body;
    return Json::parse(e->answer.body, nullptr, false);
  }
  std::vector<Event> events(const std::string& path, Json body) {
    body["stream"] = true;
    return events_in(ask("POST", path, body.dump())->stream);
  }

  std::unique_ptr<Service> service;
};

}  // namespace hadal::serve
