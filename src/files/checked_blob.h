// One large block of bytes that can be made again, kept in a file and mapped back: docs/formats/checked-blob.md. Every
// chunk has a checksum; the key says what the content was made from, and another key is another content.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/span.h"
#include "files/mapped_file.h"

namespace hadal {

struct BlobKey {
  std::array<char, 8> kind = {};  // what the content is, for readers of the file
  std::uint64_t made_from = 0;    // identity of the source
  std::uint64_t arrangement = 0;  // identity of the form the content has
};

class CheckedBlob {
 public:
  static constexpr std::int64_t kChunk = std::int64_t{16} << 20;  // a few ms of checking: work for one thread
  static constexpr std::int64_t kAlign = 4096;                    // of the content in the file, and so in memory

  // Writes beside `path`, syncs, renames. kIo, kUsage as AtomicFile.
  static Status write(const std::string& path, const BlobKey& key, Bytes content);

  // Maps and checks everything but the content. kNotFound: no file; kUnsupported: another version of the format;
  // kBadInput: damaged or cut off, or of another key or size than asked for.
  static Result<CheckedBlob> open(const std::string& path, const BlobKey& key, std::int64_t bytes);

  Bytes content() const {
    return map_.bytes().subspan(static_cast<std::size_t>(offset_), static_cast<std::size_t>(bytes_));
  }
  std::int64_t chunks() const { return ceil_div(bytes_, kChunk); }
  bool chunk_holds(std::int64_t chunk) const;  // reads it and compares its checksum; any thread
  const MappedFile& map() const { return map_; }

 private:
  MappedFile map_;
  std::int64_t offset_ = 0, bytes_ = 0;
};

}  // namespace hadal
