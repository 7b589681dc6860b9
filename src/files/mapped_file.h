// A read-only memory map of a regular file. Removing or replacing the file leaves the map intact; shrinking it in place
// does not (the process would get SIGBUS), which is why hadal replaces files by rename, never in place.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/span.h"

namespace hadal {

enum class AccessHint { kSequential, kRandom, kWillNeed, kDontNeed, kHugePages };

class MappedFile {
 public:
  // kNotFound, kBadInput (a directory or device) or kIo, naming the path.
  static Result<MappedFile> open(const std::string& path);

  // Bytes that somebody else keeps, under a name for errors.
  static MappedFile view(std::string path, Bytes bytes);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  Bytes bytes() const { return {data_, size_}; }
  std::uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // The map shows this file (stat's st_dev and st_ino); false for a view.
  bool is_file(std::uint64_t device, std::uint64_t inode) const {
    return owned_ && device == device_ && inode == inode_;
  }

  // Advice about a part; rounded out to pages, errors ignored since advice cannot change results.
  void advise(AccessHint hint, std::uint64_t offset, std::uint64_t length) const;
  void advise(AccessHint hint) const { advise(hint, 0, size_); }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::uint64_t device_ = 0, inode_ = 0;
  bool owned_ = true;  // false: a view
};

}  // namespace hadal
