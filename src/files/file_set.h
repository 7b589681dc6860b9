// The files of a checkpoint by name: a directory on disk, or files that are already in memory (the embedded model).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "files/mapped_file.h"

namespace hadal {

struct NamedBytes {
  std::string_view name;
  Bytes bytes;  // must outlive everything opened from the set
};

class FileSet {
 public:
  static FileSet directory(std::string path) { return FileSet(std::move(path), {}, false); }
  // `label` stands for the directory in errors: "(embedded nano)".
  static FileSet memory(std::string label, std::vector<NamedBytes> files) {
    return FileSet(std::move(label), std::move(files), true);
  }

  bool in_memory() const { return in_memory_; }
  const std::string& label() const { return label_; }
  std::string path_of(std::string_view name) const { return label_ + "/" + std::string(name); }

  // A regular file of that name is there.
  bool contains(std::string_view name) const;
  // The set itself can be read: a memory set always, a directory if it is one. kNotFound or kBadInput otherwise.
  Status usable() const;
  // Maps the file; kNotFound, kBadInput or kIo, naming the path.
  Result<MappedFile> open(std::string_view name) const;
  // The whole text of a small file; kBadInput beyond `limit` bytes.
  Result<std::string> read_text(std::string_view name, std::uint64_t limit) const;

 private:
  FileSet(std::string label, std::vector<NamedBytes> files, bool in_memory)
      : label_(std::move(label)), files_(std::move(files)), in_memory_(in_memory) {}
  std::string label_;
  std::vector<NamedBytes> files_;
  bool in_memory_;
};

}  // namespace hadal
