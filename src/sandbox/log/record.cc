#include "sandbox/log/record.h"

#include <array>
#include <cstring>

#include "sandbox/container/keeper_wire.h"  // crc32c

namespace hadal::sandbox {
namespace {

constexpr std::array<std::string_view, 18> kNames = {"",       "OPEN",  "EPOCH",    "INTENT",  "STARTED", "OUTPUT",
                                                     "DONE",   "LOST",  "SNAPSHOT", "RESTORE", "FORK",    "BRANCH",
                                                     "POLICY", "PHASE", "PAUSE",    "RESUME",  "NOTE",    "CLOSE"};

template <class T>
void put(std::string& out, T v) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &v, sizeof(T));  // the hosts hadal runs on are little-endian
  out.append(bytes, sizeof(T));
}

template <class T>
T get(const char* at) {
  T v;
  std::memcpy(&v, at, sizeof(T));
  return v;
}

}  // namespace

const std::string_view kRecordMagic = "HTL1";

std::string_view record_name(RecordType type) {
  const auto n = static_cast<std::size_t>(type);
  return n < kNames.size() ? kNames[n] : std::string_view();
}

void encode_record(std::string& out, const Record& r) {
  std::string tail;
  put(tail, static_cast<std::uint16_t>(r.type));
  put(tail, static_cast<std::uint16_t>(r.trajectory.size()));
  put(tail, r.lsn);
  put(tail, r.sequence);
  put(tail, r.durable);
  tail += r.trajectory;
  tail += r.body;
  out += kRecordMagic;
  put(out, static_cast<std::uint32_t>(tail.size() + 12));
  put(out, crc32c(tail));
  out += tail;
}

std::optional<DecodedRecord> decode_record(std::string_view bytes) {
  if (bytes.size() < kRecordHeader || bytes.substr(0, 4) != kRecordMagic) return std::nullopt;
  const std::size_t length = get<std::uint32_t>(bytes.data() + 4);
  const std::size_t name = get<std::uint16_t>(bytes.data() + 14);
  if (length > bytes.size() || length < kRecordHeader + name || name == 0 || name > kMostTrajectoryName ||
      length - kRecordHeader - name > kMostRecordBody)
    return std::nullopt;
  if (get<std::uint32_t>(bytes.data() + 8) != crc32c(bytes.substr(12, length - 12))) return std::nullopt;
  DecodedRecord d;
  d.length = length;
  d.record.type = static_cast<RecordType>(get<std::uint16_t>(bytes.data() + 12));
  if (record_name(d.record.type).empty()) return std::nullopt;
  d.record.lsn = get<std::uint64_t>(bytes.data() + 16);
  d.record.sequence = get<std::uint64_t>(bytes.data() + 24);
  d.record.durable = get<std::uint64_t>(bytes.data() + 32);
  d.record.trajectory = bytes.substr(kRecordHeader, name);
  d.record.body = bytes.substr(kRecordHeader + name, length - kRecordHeader - name);
  return d;
}

}  // namespace hadal::sandbox
