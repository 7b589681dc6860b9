// From a job's tokens to a client's bytes: what one request has running, while it runs.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "serve/answer.h"
#include "serve/dialect.h"
#include "serve/http.h"
#include "sessions/job.h"

namespace hadal::serve {

// Listens to jobs on the engine's thread, where it only puts events aside; everything else happens on worker threads.
class Answering : public std::enable_shared_from_this<Answering> {
 public:
  struct Beside {
    std::shared_ptr<Job> job;
    std::unique_ptr<Answer> answer;
  };
  struct Parts {
    std::shared_ptr<Exchange> exchange;
    const Dialect* dialect = nullptr;
    std::unique_ptr<AnswerWriter> writer;
    std::vector<std::unique_ptr<Answer>> answers;
    std::vector<std::shared_ptr<Job>> jobs;  // one for every answer
    std::size_t asked = 0;                   // answers the client asked for; those after them go beside (instructions)
    std::vector<Header> headers;             // of the response
    bool stream = false, detached = false;
    double heartbeat_seconds = 10;
    double progress_seconds = 1;  // between two reports of a prompt being read
    // An answer is complete. What is returned begins now, beside what still runs.
    std::function<std::vector<Beside>(const Answer&, std::size_t)> on_answer;
    std::function<void(Answering&)> on_finished;  // the last one is; called once
  };
  explicit Answering(Parts parts) : parts_(std::move(parts)) {}

  void start();
  // The client has gone. Jobs that nobody else hears end, unless detached.
  void abandon();
  const Parts& parts() const { return parts_; }

 private:
  struct Inbox {
    std::mutex mutex;
    std::vector<std::pair<std::size_t, JobEvent>> events;
    bool scheduled = false;
  };
  void wake();
  void pump();
  void handle(std::size_t index, const JobEvent& event, std::string& out);
  std::string progress(const JobEvent& event);
  std::string ending(std::size_t index, bool beside);
  void listen(std::size_t index);
  void finish();

  Parts parts_;
  std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::mutex pumping_;  // one pump at a time; guards what follows
  std::vector<std::shared_ptr<void>> listening_;
  std::size_t ended_ = 0;
  Stopwatch began_, reported_;    // of reading the prompt; since the last report of it
  std::int64_t first_done_ = -1;  // tokens that were there when it began
  bool gone_ = false, finished_ = false, failed_ = false;
};

}  // namespace hadal::serve
