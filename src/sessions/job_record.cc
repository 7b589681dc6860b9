#include "sessions/job_record.h"

#include <algorithm>

namespace hadal {

bool JobRecord::finished() const {
  const std::lock_guard lock(mutex_);
  return done_.has_value();
}

std::shared_ptr<void> JobRecord::listen(std::int64_t from, Listener listener) {
  const std::lock_guard lock(mutex_);
  if (progress_) listener(*progress_);
  for (auto i = static_cast<std::size_t>(std::max<std::int64_t>(from, 0)); i < tokens_.size(); ++i) {
    JobEvent event;
    event.kind = JobEvent::Kind::kToken;
    event.token = tokens_[i];
    listener(event);
  }
  if (done_) {
    listener(*done_);
    return std::make_shared<int>(0);
  }
  const std::int64_t number = next_listener_++;
  listeners_.emplace(number, std::move(listener));
  return std::shared_ptr<void>(nullptr, [self = shared_from_this(), number](void*) { self->leave(number); });
}

void JobRecord::leave(std::int64_t number) {
  const std::lock_guard lock(mutex_);
  listeners_.erase(number);
  if (listeners_.empty() && !done_ && !request_.detached) cancel();
}

void JobRecord::tell(JobEvent event) {
  const std::lock_guard lock(mutex_);
  switch (event.kind) {
    case JobEvent::Kind::kQueued:
    case JobEvent::Kind::kPrefill:
      progress_ = event;
      break;
    case JobEvent::Kind::kToken:
      tokens_.push_back(event.token);
      break;
    case JobEvent::Kind::kDone:
      done_ = event;
      break;
  }
  for (auto& [number, listener] : listeners_) listener(event);
  if (done_) listeners_.clear();
}

}  // namespace hadal
