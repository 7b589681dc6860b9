#include "sandbox/replay/read_state.h"

#include <nlohmann/json.hpp>

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;

template <class T>
T field(const Json& body, const char* name, T otherwise) {
  const auto it = body.find(name);
  if (it == body.end()) return otherwise;
  if constexpr (std::is_same_v<T, std::string>) {
    return it->is_string() ? it->template get<std::string>() : otherwise;
  } else if constexpr (std::is_same_v<T, bool>) {
    return it->is_boolean() ? it->template get<bool>() : otherwise;
  } else {
    return it->is_number_unsigned() ? it->template get<T>() : otherwise;
  }
}

}  // namespace

void take_record(TrajectoryState& s, const Record& record) {
  const Json body = Json::parse(record.body, nullptr, false);
  if (!body.is_object()) return;
  const auto seq = field<std::uint64_t>(body, "seq", 0);
  switch (record.type) {
    case RecordType::kOpen:
      s.sandbox = field<std::string>(body, "sandbox", "");
      break;
    case RecordType::kEpoch:
      s.epoch = field<std::uint64_t>(body, "epoch", s.epoch);
      break;
    case RecordType::kIntent: {
      LoggedOperation o;
      o.op = field<std::string>(body, "op", "");
      o.digest = field<std::string>(body, "digest", "");
      o.request = body.contains("request") ? body["request"].dump(-1, ' ', false, Json::error_handler_t::replace) : "";
      o.boot = field<std::string>(body, "boot", "");
      o.attempt = field<std::uint64_t>(body, "attempt", 1);
      o.idempotent = field<bool>(body, "idempotent", false);
      s.by_op[o.op] = seq;
      s.operations[seq] = std::move(o);
      break;
    }
    case RecordType::kDone:
    case RecordType::kLost: {
      const auto it = s.operations.find(seq);
      if (it == s.operations.end()) break;
      it->second.state = record.type == RecordType::kDone ? OperationState::kDone : OperationState::kLost;
      it->second.result = field<std::string>(body, "result", "");
      it->second.blob = field<std::string>(body, "blob", "");
      it->second.result_digest = field<std::string>(body, "digest", "");
      it->second.why = field<std::string>(body, "why", "");
      break;
    }
    case RecordType::kClose:
      s.closed = true;
      break;
    default:
      break;
  }
}

}  // namespace hadal::sandbox
