// An append-only file of records, each checksummed together with the checksum before it: docs/formats/record-file.md.
// Session logs and turn memories are such files.
//
// What write() returned is with the operating system and survives the death of the process; what sync() returned is on
// the disk. One thread appends; syncing may happen on another (sync_thread.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "sessions/record_reader.h"
#include "sessions/sync_thread.h"

namespace hadal {

class RecordFile {
 public:
  static constexpr std::uint32_t kMostPayload = kMostRecordPayload;

  enum class Access {
    kRead,    // beside a writer too: what it is just writing is not seen
    kIntact,  // as kRead, and of a damaged file what comes before the damage
    kAppend,  // alone: a second writer gets kBusy
  };
  using OnHeader = std::function<Status(Bytes content)>;
  using OnRecord = std::function<Status(const Record&)>;

  // A new file, written beside `path` and renamed. kUsage when `path` exists; kIo.
  static Result<RecordFile> create(const std::string& path, const RecordFileKind& kind, Bytes content,
                                   const SyncPolicy& sync);

  // Reads everything, in order. A torn last record is cut off (cut_bytes() says how much); damage before intact records
  // is refused and its offset named. kNotFound, kBusy, kIo; kUnsupported: another version; kBadInput: not such a file,
  // damaged, or refused by a callback.
  static Result<RecordFile> open(const std::string& path, const RecordFileKind& kind, Access access,
                                 const SyncPolicy& sync, const OnHeader& on_header, const OnRecord& on_record);

  // The header alone; nothing behind it is looked at.
  static Status read_header(const std::string& path, const RecordFileKind& kind, const OnHeader& on_header);

  RecordFile(RecordFile&&) = default;
  RecordFile& operator=(RecordFile&&) = delete;
  ~RecordFile();  // syncs unless the policy is kNever; sync() before tells whether that succeeded

  // Adds a record of `bytes` to the next write and returns where its payload goes, valid until the next call.
  // `bytes` is at most kMostPayload.
  std::byte* stage(std::uint16_t type, std::size_t bytes);
  void stage(std::uint16_t type, Bytes payload);
  std::int64_t staged_offset() const { return size_ + static_cast<std::int64_t>(staged_.size()); }  // of the next one
  bool anything_staged() const { return !staged_.empty(); }

  // All staged records in one write(2), then what the policy asks for. kIo: nothing of them is in the file, and the
  // object refuses everything from then on; open the file again to continue.
  Status write();
  Status sync();  // kIo is final too

  // Reads the records from `offset`, where one must begin, until the callback says false or the file ends.
  Status read(std::int64_t offset, const std::function<Result<bool>(const Record&)>& on_record) const;

  // On the same file system. A file `to` is replaced, or refused with kUsage.
  Status rename(const std::string& to, bool replace);

  const std::string& path() const { return path_; }
  std::int64_t begin() const { return begin_; }  // of the first record
  std::int64_t size() const { return size_; }
  std::int64_t cut_bytes() const { return cut_bytes_; }
  std::uint64_t chain() const { return chain_; }  // checksum of the last record

 private:
  RecordFile() = default;
  void seal();  // the checksum of the record staged last
  Status broken() const;

  std::string path_;
  const char* name_ = "";
  std::shared_ptr<SyncTarget> target_;  // the descriptor
  SyncPolicy sync_;
  std::chrono::steady_clock::time_point last_sync_{};
  std::int64_t begin_ = 0, size_ = 0, cut_bytes_ = 0;
  std::uint64_t chain_ = 0;
  std::vector<std::byte> staged_;
  std::size_t unsealed_ = kNone;  // where the record staged last begins in staged_
  static constexpr std::size_t kNone = SIZE_MAX;
  bool failed_ = false, writable_ = false;
};

}  // namespace hadal
