#include "sandbox/api.h"

#include <array>

namespace hadal::sandbox {
namespace {

constexpr std::array<std::string_view, 4> kSubstrates = {"function", "container", "microvm", "vm"};
constexpr std::array<std::string_view, 8> kStates = {"creating", "running", "pausing", "paused",
                                                     "resuming", "closing", "closed",  "failed"};
constexpr std::array<std::string_view, 6> kStatuses = {"exited",     "signalled", "exec_timeout",
                                                       "oom_killed", "killed",    "not_started"};

}  // namespace

std::string_view substrate_name(SubstrateKind kind) { return kSubstrates.at(static_cast<std::size_t>(kind)); }

Result<SubstrateKind> parse_substrate(std::string_view word) {
  for (std::size_t i = 0; i < kSubstrates.size(); ++i)
    if (kSubstrates[i] == word) return static_cast<SubstrateKind>(i);
  return fail(ErrorCode::kUsage, "substrate: '{}' is none of function, container, microvm, vm", word.substr(0, 40));
}

std::string_view state_name(State state) { return kStates.at(static_cast<std::size_t>(state)); }

std::string_view exec_status_name(ExecStatus status) { return kStatuses.at(static_cast<std::size_t>(status)); }

bool may_follow(State from, State to) {
  if (from == State::kClosed) return false;
  if (to == State::kFailed) return from != State::kFailed;
  switch (from) {
    case State::kCreating:
      return to == State::kRunning || to == State::kClosing;
    case State::kRunning:
      return to == State::kPausing || to == State::kClosing;
    case State::kPausing:
      return to == State::kPaused || to == State::kRunning;
    case State::kPaused:
      return to == State::kResuming || to == State::kClosing;
    case State::kResuming:
      return to == State::kRunning || to == State::kPaused;
    case State::kFailed:
      return to == State::kClosing;
    case State::kClosing:
      return to == State::kClosed;
    case State::kClosed:
      return false;
  }
  return false;
}

}  // namespace hadal::sandbox
