// A file that appears under its name complete or not at all: written beside it as NAME.partial, synced, renamed. What a
// killed process leaves of NAME.partial the next writer overwrites.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace hadal {

class AtomicFile {
 public:
  // A new file gets `mode` less the umask: 0600 for what is the user's alone. kUsage when `path` is there and not a
  // regular file (a link is followed: the file it names is replaced); kIo when the directory cannot be written or
  // another process is writing the same file.
  static Result<AtomicFile> create(const std::string& path, unsigned mode = 0666);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();  // without commit(), nothing remains

  // Appends. The first failure is kept: commit() reports it, and later bytes go nowhere.
  void write(const void* data, std::size_t size);
  // Syncs content and name to disk. kIo.
  Status commit();

 private:
  explicit AtomicFile(std::string target) : target_(std::move(target)), partial_(target_ + ".partial") {}
  std::string target_, partial_;
  int fd_ = -1;
  int failed_ = 0;  // errno
};

}  // namespace hadal
