#include "sandbox/log/rules.h"

#include <nlohmann/json.hpp>

namespace hadal::sandbox {
namespace {

std::uint64_t number(const nlohmann::json& body, const char* field) {
  const auto it = body.find(field);
  return it != body.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

}  // namespace

Status TrajectoryRules::accept(RecordType type, std::string_view text) {
  const std::string_view name = record_name(type);
  const auto body = nlohmann::json::parse(text, nullptr, false);
  if (name.empty() || !body.is_object())
    return fail(ErrorCode::kUsage, "a record of the log has no type or no JSON object as its body");
  const bool first = type == RecordType::kOpen || type == RecordType::kBranch;
  if (closed_) return fail(ErrorCode::kUsage, "{} after CLOSE: the trajectory has ended", name);
  if (first != (records_ == 0))
    return fail(ErrorCode::kUsage, "{} as record {}: a trajectory begins with one OPEN or BRANCH", name, records_ + 1);
  const std::uint64_t seq = number(body, "seq");
  switch (type) {
    case RecordType::kEpoch: {
      const std::uint64_t epoch = number(body, "epoch");
      if (epoch <= epoch_) return fail(ErrorCode::kUsage, "EPOCH {} after {}: epochs rise", epoch, epoch_);
      epoch_ = epoch;
      break;
    }
    case RecordType::kIntent: {
      const auto flag = body.find("idempotent");
      const bool idempotent = flag != body.end() && flag->is_boolean() && flag->get<bool>();
      const auto known = calls_.find(seq);
      if (seq == 0 || (known != calls_.end() && !known->second.may_repeat))
        return fail(ErrorCode::kUsage, "INTENT {}: 'seq' is missing or was used", seq);
      const std::uint64_t attempt = body.contains("attempt") ? number(body, "attempt") : 1;
      const std::uint64_t due = known == calls_.end() ? 1 : known->second.attempt + 1;
      if (attempt != due) return fail(ErrorCode::kUsage, "INTENT {}: attempt {} where {} is due", seq, attempt, due);
      calls_[seq] = {true, false, attempt, idempotent};
      ++running_;
      break;
    }
    case RecordType::kStarted:
    case RecordType::kOutput:
    case RecordType::kDone:
    case RecordType::kLost: {
      const auto it = calls_.find(seq);
      if (it == calls_.end() || !it->second.running)
        return fail(ErrorCode::kUsage, "{} {}: no INTENT with this 'seq' is open", name, seq);
      if (type == RecordType::kDone || type == RecordType::kLost) {
        it->second.running = false;
        it->second.may_repeat = type == RecordType::kLost && it->second.idempotent;
        --running_;
      }
      break;
    }
    case RecordType::kSnapshot:
      if (running_ > 0 && !body.contains("running"))
        return fail(ErrorCode::kUsage, "SNAPSHOT with {} operations running that it does not list in 'running'",
                    running_);
      break;
    case RecordType::kClose:
      closed_ = true;
      break;
    default:
      break;
  }
  ++records_;
  return {};
}

}  // namespace hadal::sandbox
