#include "sandbox/replay/parts.h"

#include <chrono>

namespace hadal::sandbox {

std::string body_text(const nlohmann::json& j) {
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string agent_name(const std::string& trajectory, std::uint64_t seq, std::uint64_t attempt) {
  return fmt::format("{}#{}.{}", trajectory, seq, attempt);
}

Refusal log_refusal(const Error& error) {
  if (error.code == ErrorCode::kBusy) return {Fault::kLogFull, error.what};
  if (error.code == ErrorCode::kUsage) return {Fault::kInvalidRequest, error.what};
  return {Fault::kStoreUnavailable, error.what};
}

}  // namespace hadal::sandbox
