// The bytes of a record file and a reader that holds one window of it: docs/formats/record-file.md.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace hadal {

struct RecordFileKind {
  std::array<char, 8> magic;
  std::uint32_t version;
  const char* name;  // what such a file is called in messages
};

struct Record {
  std::uint16_t type = 0;  // 1 to kMostRecordTypes
  Bytes payload;
  std::int64_t offset = 0;  // of the record in the file
};

constexpr std::uint16_t kMostRecordTypes = 63;
constexpr std::uint32_t kMostRecordPayload = 1 << 20;  // bytes; bounds what a reader holds
constexpr std::uint32_t kMostHeaderContent = 64 << 10;

// A record: head, payload, zeros to a multiple of 4, XXH3-64 of all that with the checksum before it as seed.
struct RecordHead {
  std::uint32_t bytes;  // of payload
  std::uint16_t type;
  std::uint16_t zero;
};
constexpr std::size_t kRecordHead = sizeof(RecordHead), kRecordSum = 8;
static_assert(kRecordHead == 8);

// The whole header; `chain` gets its checksum, the seed of the first record's.
std::vector<std::byte> encode_header(const RecordFileKind& kind, Bytes content, std::uint64_t& chain);

class RecordReader {
 public:
  // The descriptor is the caller's and outlives the reader. `path` and `name` serve messages.
  RecordReader(int fd, const std::string& path, const char* name) : fd_(fd), path_(path), name_(name) {}

  // Reads the header. kBadInput, kUnsupported (another version), kIo.
  Status start(const RecordFileKind& kind, const std::function<Status(Bytes content)>& on_header);
  // Starts at a record instead, behind which at least a header lies; reads as far as `end`.
  Status start_at(std::int64_t offset, std::int64_t end);

  // The record at offset(), valid until the next call; null when none is intact there. kIo.
  Result<const Record*> next();

  // After null from next(): refuses (kBadInput) if anything intact follows, since then it is damage and no torn end.
  Status check_tail();

  bool at_end() const { return offset_ == size_; }
  std::int64_t offset() const { return offset_; }
  std::int64_t file_size() const { return size_; }  // when reading began
  std::uint64_t chain() const { return chain_; }

 private:
  Result<Bytes> window(std::int64_t offset, std::size_t bytes);  // fewer at the end of the file
  // Whether a record begins at `offset` if the checksum before it is `seed`; adds what was hashed to `hashed`.
  Result<bool> record_at(std::int64_t offset, std::uint64_t seed, std::int64_t& hashed);

  int fd_;
  const std::string& path_;
  const char* name_;
  std::int64_t size_ = 0, offset_ = 0;
  std::uint64_t chain_ = 0;
  Record record_;
  std::vector<std::byte> buffer_;
  std::int64_t buffer_offset_ = 0;
};

}  // namespace hadal
