// What the files of this folder share: one trajectory in memory, and what happens to its runs.
#pragma once

#include <nlohmann/json.hpp>

#include "sandbox/replay/replay.h"

namespace hadal::sandbox {

struct Replay::Trajectory {
  explicit Trajectory(std::string n) : name(std::move(n)) {}
  const std::string name;
  std::mutex mutex;
  TrajectoryState state;
  struct Waiting {
    std::shared_ptr<ReplayWaiter> waiter;
    Source source = Source::kLive;
  };
  std::map<std::uint64_t, std::vector<Waiting>> waiting;
};

struct Replay::Event {
  enum class Kind { kStarted, kEnded, kFailed } kind = Kind::kStarted;
  std::shared_ptr<Trajectory> trajectory;
  std::uint64_t seq = 0, attempt = 0;
  std::int64_t pid = 0;
  std::string text;  // the result, or why it failed
  // What commit() found.
  std::string result_digest, blob;
  Status recorded;
  bool counted = false;
};

// Bodies of the log: sorted keys, bytes that are no text replaced.
std::string body_text(const nlohmann::json& body);
std::int64_t now_ms();
// What the agent calls an attempt. A name is used once in a sandbox.
std::string agent_name(const std::string& trajectory, std::uint64_t seq, std::uint64_t attempt);
// The log refused a record, or could not make it durable.
Refusal log_refusal(const Error& error);

}  // namespace hadal::sandbox
