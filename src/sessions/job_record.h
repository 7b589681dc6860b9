// The scheduler's side of a job: everything that happened, kept for listeners who come late.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>

#include "sessions/job.h"

namespace hadal {

class JobRecord final : public Job, public std::enable_shared_from_this<JobRecord> {
 public:
  explicit JobRecord(JobRequest request) : request_(std::move(request)) {}

  const std::string& id() const override { return request_.id; }
  const std::string& session() const override { return request_.session; }
  bool finished() const override;
  std::shared_ptr<void> listen(std::int64_t from, Listener listener) override;
  void cancel() override { cancelled_.store(true, std::memory_order_relaxed); }

  void stop() override { stopped_.store(true, std::memory_order_relaxed); }

  const JobRequest& request() const { return request_; }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

  // Remembers the event and tells it to everybody. Of progress only the last word is remembered.
  void tell(JobEvent event);

 private:
  void leave(std::int64_t number);

  const JobRequest request_;
  std::atomic<bool> cancelled_{false}, stopped_{false};
  mutable std::mutex mutex_;  // held while listeners are called, so that none is running once it has left
  std::map<std::int64_t, Listener> listeners_;
  std::int64_t next_listener_ = 0;
  std::vector<JobToken> tokens_;
  std::optional<JobEvent> progress_, done_;
};

}  // namespace hadal
