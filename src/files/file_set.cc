#include "files/file_set.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace hadal {

bool FileSet::contains(std::string_view name) const {
  if (in_memory_) return std::any_of(files_.begin(), files_.end(), [&](const NamedBytes& f) { return f.name == name; });
  struct stat info = {};
  return ::stat(path_of(name).c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

Status FileSet::usable() const {
  if (in_memory_) return {};
  struct stat info = {};
  if (::stat(label_.c_str(), &info) != 0) return fail(ErrorCode::kNotFound, "{}: no such directory", label_);
  if (!S_ISDIR(info.st_mode))
    return fail(ErrorCode::kBadInput, "{}: is not a directory; name the checkpoint's directory", label_);
  if (::access(label_.c_str(), R_OK | X_OK) != 0)  // else every file in it would seem to be missing
    return fail(ErrorCode::kBadInput, "{}: {}; make the directory readable", label_, std::strerror(errno));
  return {};
}

Result<MappedFile> FileSet::open(std::string_view name) const {
  if (!in_memory_) return MappedFile::open(path_of(name));
  for (const NamedBytes& f : files_)
    if (f.name == name) return MappedFile::view(path_of(name), f.bytes);
  return fail(ErrorCode::kNotFound, "{}: no such file", path_of(name));
}

Result<std::string> FileSet::read_text(std::string_view name, std::uint64_t limit) const {
  MappedFile file = HADAL_TRY(open(name));
  if (file.size() > limit)
    return fail(ErrorCode::kBadInput, "{}: {} bytes are more than the {} that such a file may have", path_of(name),
                file.size(), limit);
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.size());
}

}  // namespace hadal
