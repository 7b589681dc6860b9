// One record of the trajectory log as bytes: docs/formats/trajectory-log.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::sandbox {

enum class RecordType : std::uint16_t {
  kOpen = 1,  // {spec..., boot}
  kEpoch,     // {epoch, caller}
  kIntent,    // {seq, op, digest, request, idempotent, boot}: before the agent is told
  kStarted,   // {seq, boot, pid}
  kOutput,    // {seq, offset, ...}
  kDone,      // {seq, result, digest}: before the result is sent
  kLost,      // {seq, why}
  kSnapshot,  // {id, seq}
  kRestore,
  kFork,
  kBranch,
  kPolicy,
  kPhase,
  kPause,
  kResume,
  kNote,
  kClose,  // nothing follows
};
std::string_view record_name(RecordType type);  // "OPEN"; empty for a number that is none

struct Record {
  RecordType type{};
  std::uint64_t lsn = 0;       // of the log, from 1
  std::uint64_t sequence = 0;  // of the record in its trajectory, from 1
  std::uint64_t durable = 0;   // the last lsn known durable when this was written
  std::string trajectory;
  std::string body;  // JSON with sorted keys
};

constexpr std::size_t kRecordHeader = 40;
constexpr std::size_t kMostTrajectoryName = 128;  // long enough for any label, short enough for a line
constexpr std::size_t kMostRecordBody = 4 << 20;  // a 1 MiB stream kept of each output, escaped at worst twofold

// Appends the record to `out`. The bounds above must hold.
void encode_record(std::string& out, const Record& record);
// The record at the start of `bytes` and its length there; nothing when no whole, undamaged record is there.
struct DecodedRecord {
  Record record;
  std::size_t length = 0;
};
std::optional<DecodedRecord> decode_record(std::string_view bytes);

extern const std::string_view kRecordMagic;

}  // namespace hadal::sandbox
