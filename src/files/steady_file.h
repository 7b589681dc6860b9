// A file opened for reading that must stay what it was: whoever shrinks it or writes to it while a model runs gets an
// error that names it, never other weights, and never the SIGBUS of a mapping that lost its pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "files/mapped_file.h"

namespace hadal {

class SteadyFile {
 public:
  // Blocks that offsets, lengths and buffers of direct reads are multiples of.
  static constexpr std::int64_t kAlign = 4096;

  // Opens the file that `map` shows once more; `direct`: past the page cache where the file system allows it. kIo when
  // it cannot be opened or another one has taken its place.
  static Result<SteadyFile> open(const MappedFile& map, bool direct);

  SteadyFile() = default;
  SteadyFile(SteadyFile&& other) noexcept;
  SteadyFile& operator=(SteadyFile&& other) noexcept;
  ~SteadyFile();

  // kIo when the file has become shorter or was written to since open(), or `missing` bytes of it, not none, did not
  // come.
  Status check(std::int64_t missing) const;
  // All of `out` from `offset` on, as it was at open(). Not for direct files. Errors: kIo.
  Status read(std::uint64_t offset, std::span<std::byte> out) const;

  int descriptor() const { return fd_; }
  bool direct() const { return direct_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  bool direct_ = false;
  std::uint64_t size_ = 0;
  std::int64_t modified_seconds_ = 0, modified_nanoseconds_ = 0;
};

}  // namespace hadal
