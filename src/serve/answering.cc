#include "serve/answering.h"

#include <utility>

namespace hadal::serve {
namespace {

// A client that reads slower than the model writes gets no more pieces until it has taken most of what it has.
constexpr std::size_t kHighWater = 256 << 10;

}  // namespace

void Answering::start() {
  std::weak_ptr<Answering> weak = weak_from_this();
  if (parts_.exchange) {
    parts_.exchange->on_closed([weak, exchange = std::weak_ptr(parts_.exchange)] {
      auto self = weak.lock();
      auto alive = exchange.lock();
      if (self && alive) alive->later([self] { self->abandon(); });
    });
    if (parts_.stream) {
      parts_.exchange->on_drained([weak] {
        if (auto self = weak.lock()) self->wake();
      });
      Response head;
      head.content_type = "text/event-stream; charset=utf-8";
      head.headers = parts_.headers;
      head.headers.push_back({"Cache-Control", "no-cache"});
      head.headers.push_back({"X-Accel-Buffering", "no"});  // proxies must pass pieces on as they come
      head.body = parts_.writer->begin();
      parts_.exchange->start(std::move(head), parts_.dialect->heartbeat(), parts_.heartbeat_seconds);
    }
  }
  const std::lock_guard lock(pumping_);
  for (std::size_t i = 0; i < parts_.jobs.size(); ++i) listen(i);
}

void Answering::listen(std::size_t index) {
  auto listener = [inbox = inbox_, weak = weak_from_this(), index](const JobEvent& event) {
    {
      const std::lock_guard guard(inbox->mutex);
      inbox->events.emplace_back(index, event);
      if (std::exchange(inbox->scheduled, true)) return;
    }
    if (auto self = weak.lock())
      self->parts_.exchange->later([weak] {
        if (auto later = weak.lock()) later->pump();
      });
  };
  listening_.push_back(parts_.jobs[index]->listen(0, std::move(listener)));
}

// A report of the prompt's reading, or nothing when the last one is fresh.
std::string Answering::progress(const JobEvent& event) {
  Progress p;
  if (event.kind == JobEvent::Kind::kQueued) {
    p.place = event.done;
  } else {
    if (first_done_ < 0) {
      first_done_ = event.done;
      began_.restart();
    }
    p.done = event.done;
    p.total = event.total;
    p.cached = event.cached;
    const double seconds = began_.seconds();
    if (event.done > first_done_ && seconds > 0) {
      p.tokens_per_second = static_cast<double>(event.done - first_done_) / seconds;
      p.eta_seconds = static_cast<double>(event.total - event.done) / p.tokens_per_second;
    }
  }
  if (reported_.seconds() < parts_.progress_seconds && !parts_.writer->wants(p)) return "";
  reported_.restart();
  return parts_.writer->progress(p);
}

void Answering::wake() {
  {
    const std::lock_guard guard(inbox_->mutex);
    if (inbox_->events.empty() || std::exchange(inbox_->scheduled, true)) return;
  }
  parts_.exchange->later([weak = weak_from_this()] {
    if (auto self = weak.lock()) self->pump();
  });
}

void Answering::pump() {
  const std::lock_guard lock(pumping_);
  std::vector<std::pair<std::size_t, JobEvent>> events;
  {
    const std::lock_guard guard(inbox_->mutex);
    inbox_->scheduled = false;
    // The rest is fetched when the client has caught up; see on_drained.
    if (parts_.stream && !gone_ && parts_.exchange->unsent() > kHighWater) return;
    events.swap(inbox_->events);
  }
  if (finished_) return;
  std::string out;
  for (const auto& [index, event] : events) handle(index, event, out);
  if (parts_.stream && !gone_ && !out.empty()) parts_.exchange->write(std::move(out));
  if (ended_ == parts_.jobs.size()) finish();
}

void Answering::handle(std::size_t index, const JobEvent& event, std::string& out) {
  Answer& answer = *parts_.answers[index];
  if (answer.ended()) return;
  const bool beside = index >= parts_.asked;
  if (event.kind == JobEvent::Kind::kQueued || event.kind == JobEvent::Kind::kPrefill) {
    if (parts_.stream && !failed_ && index == 0) out += progress(event);
  } else if (event.kind == JobEvent::Kind::kToken) {
    const AnswerStep step = answer.add(event.token);
    if (parts_.stream && !failed_ && !beside) out += parts_.writer->step(index, answer, step);
    if (answer.enough()) parts_.jobs[index]->stop();
  } else if (event.kind == JobEvent::Kind::kDone) {
    const AnswerStep step = answer.end(event);
    ++ended_;
    std::vector<Beside> more;
    if (parts_.on_answer) more = parts_.on_answer(answer, index);
    if (parts_.stream && !failed_) {
      if (!beside) out += parts_.writer->step(index, answer, step);
      out += ending(index, beside);
    }
    for (Beside& one : more) {  // after what is said of `answer`: it may move
      parts_.answers.push_back(std::move(one.answer));
      parts_.jobs.push_back(std::move(one.job));
      listen(parts_.jobs.size() - 1);
    }
  }
}

std::string Answering::ending(std::size_t index, bool beside) {
  const Answer& answer = *parts_.answers[index];
  if (!beside && (answer.finish() == Finish::kError || answer.finish() == Finish::kCancelled)) {
    failed_ = true;
    const Error stopped{ErrorCode::kCancelled, "the server stopped this answer before it was complete; ask again"};
    return parts_.writer->broken(answer.finish() == Finish::kError ? answer.error() : stopped);
  }
  return parts_.writer->end(index, answer);
}

void Answering::finish() {
  if (std::exchange(finished_, true)) return;
  listening_.clear();
  if (!gone_) {
    if (parts_.stream) {
      if (!failed_) parts_.exchange->write(parts_.writer->close(parts_.answers));
      parts_.exchange->finish();
    } else {
      Response response;
      for (const auto& answer : std::span(parts_.answers).first(parts_.asked)) {
        if (answer->finish() == Finish::kError)
          response =
              parts_.dialect->error(status_of(answer->error().code), answer->error(), parts_.exchange->request().id);
        else if (answer->finish() == Finish::kCancelled)
          response = parts_.dialect->error(
              503, {ErrorCode::kCancelled, "the server stopped this answer before it was complete; ask again"},
              parts_.exchange->request().id);
        else
          continue;
        failed_ = true;
        break;
      }
      if (!failed_) response.body = parts_.writer->whole(parts_.answers);
      for (const Header& h : parts_.headers) response.headers.push_back(h);
      parts_.exchange->send(std::move(response));
    }
  }
  if (parts_.on_finished) parts_.on_finished(*this);
}

void Answering::abandon() {
  const std::lock_guard lock(pumping_);
  gone_ = true;
  if (finished_ || parts_.detached) return wake();
  finished_ = true;
  listening_.clear();
  if (parts_.on_finished) parts_.on_finished(*this);
}

}  // namespace hadal::serve
