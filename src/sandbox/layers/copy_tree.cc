#include "sandbox/layers/copy_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "sandbox/fd.h"

namespace hadal::sandbox {
namespace {

constexpr std::int64_t kIdsEach = 65536;  // of a sandbox (container.cc)
constexpr int kDeepest = 1000;            // folders in folders; each holds a descriptor while it is copied

std::unexpected<Error> io(const std::string& path, const char* what) {
  return fail(ErrorCode::kIo, "cannot {} {}: {}", what, path, std::strerror(errno));
}

// By descriptor and name throughout: no path of the tree is ever followed from the host's root.
class Copier {
 public:
  Copier(const CopyOptions& options, CopyCount& count) : options_(options), count_(count) {}

  Status folder(int from, int to, const std::string& path, int depth) {
    if (depth > kDeepest) return fail(ErrorCode::kIo, "{}: folders lie more than {} deep", path, kDeepest);
    std::vector<std::string> names;
    {
      DIR* dir = ::fdopendir(::openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (dir == nullptr) return io(path, "list");
      while (const dirent* e = ::readdir(dir))
        if (const std::string_view name = e->d_name; name != "." && name != "..") names.emplace_back(name);
      ::closedir(dir);
    }
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) HADAL_CHECK_OK(entry(from, to, name, path, depth));
    return finish(from, to, path);
  }

 private:
  Status entry(int from, int to, const std::string& name, const std::string& above, int depth) {
    const std::string path = above.empty() ? name : above + "/" + name;
    for (const std::string& pattern : options_.left_out)
      if (::fnmatch(pattern.c_str(), path.c_str(), 0) == 0) return {};
    struct stat s = {};
    if (::fstatat(from, name.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) return io(path, "look at");
    if (S_ISSOCK(s.st_mode)) return {};
    ++count_.files;
    if (S_ISDIR(s.st_mode)) {
      if (::mkdirat(to, name.c_str(), 0700) != 0) return io(path, "make");
      const Fd in(::openat(from, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      const Fd out(::openat(to, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!in || !out) return io(path, "open");
      return folder(in.get(), out.get(), path, depth + 1);
    }
    if (s.st_nlink > 1) {
      const auto [at, first] = links_.try_emplace({s.st_dev, s.st_ino}, path);
      if (!first) {
        if (::linkat(top_, at->second.c_str(), to, name.c_str(), 0) != 0) return io(path, "link");
        return {};
      }
    }
    if (S_ISREG(s.st_mode)) {
      const Fd in(::openat(from, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
      const Fd out(::openat(to, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!in || !out) return io(path, "open");
      if (::ioctl(out.get(), FICLONE, in.get()) != 0) HADAL_CHECK_OK(bytes(in.get(), out.get(), s.st_size, path));
      count_.bytes += s.st_size;
      return finish(in.get(), out.get(), path);
    }
    if (S_ISLNK(s.st_mode)) {
      std::string target(static_cast<std::size_t>(s.st_size) + 1, '\0');
      const ssize_t n = ::readlinkat(from, name.c_str(), target.data(), target.size());
      if (n < 0) return io(path, "read");
      target.resize(static_cast<std::size_t>(n));
      if (::symlinkat(target.c_str(), to, name.c_str()) != 0) return io(path, "make");
    } else if (::mknodat(to, name.c_str(), s.st_mode, s.st_rdev) != 0) {
      return io(path, "make");
    }
    if (::fchownat(to, name.c_str(), shifted(s.st_uid), shifted(s.st_gid), AT_SYMLINK_NOFOLLOW) != 0)
      return io(path, "own");
    const struct timespec times[2] = {s.st_atim, s.st_mtim};
    (void)::utimensat(to, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
    return {};
  }

  // Holes stay holes: a sandbox may make a file of a terabyte that holds nothing.
  static Status bytes(int in, int out, off_t size, const std::string& path) {
    if (::ftruncate(out, size) != 0) return io(path, "write");
    for (off_t at = 0; at < size;) {
      const off_t data = ::lseek(in, at, SEEK_DATA);
      if (data < 0 && errno == ENXIO) return {};
      if (data < 0) return io(path, "read");
      off_t end = ::lseek(in, data, SEEK_HOLE);
      if (end < 0) end = size;
      for (off_t from = data, to = data; from < end;)
        if (::copy_file_range(in, &from, out, &to, static_cast<std::size_t>(end - from), 0) <= 0)
          return io(path, "copy");
      at = end;
    }
    return {};
  }

  uid_t shifted(uid_t id) const {
    const std::int64_t i = static_cast<std::int64_t>(id) - options_.first_id;
    return i >= 0 && i < kIdsEach ? static_cast<uid_t>(i) : id;
  }

  // What is set last, because writing changes it.
  Status finish(int from, int to, const std::string& path) {
    struct stat s = {};
    if (::fstat(from, &s) != 0) return io(path, "look at");
    if (::fchown(to, shifted(s.st_uid), shifted(s.st_gid)) != 0 || ::fchmod(to, s.st_mode & 07777) != 0)
      return io(path, "own");
    std::string names(64 << 10, '\0');  // XATTR_LIST_MAX of the kernel
    const ssize_t n = ::flistxattr(from, names.data(), names.size());
    for (const char* name = names.data(); n > 0 && name < names.data() + n; name += std::strlen(name) + 1) {
      std::string value(64 << 10, '\0');  // XATTR_SIZE_MAX
      const ssize_t size = ::fgetxattr(from, name, value.data(), value.size());
      // What overlay notes about where a file came from is about this host's disk alone.
      if (size < 0 || (std::string_view(name).starts_with("trusted.overlay.") &&
                       std::string_view(name) != "trusted.overlay.opaque"))
        continue;
      if (::fsetxattr(to, name, value.data(), static_cast<std::size_t>(size), 0) != 0 && errno != EOPNOTSUPP)
        return io(path, "set an attribute of");
    }
    const struct timespec times[2] = {s.st_atim, s.st_mtim};
    (void)::futimens(to, times);
    return {};
  }

 public:
  int top_ = -1;  // of the copy

 private:
  const CopyOptions& options_;
  CopyCount& count_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

Result<CopyCount> copy_tree(const std::string& from, const std::string& to, const CopyOptions& options) {
  const Fd in(::open(from.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Fd out(::open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!in) return io(from, "open");
  if (!out) return io(to, "open");
  CopyCount count;
  Copier copier(options, count);
  copier.top_ = out.get();
  HADAL_CHECK_OK(copier.folder(in.get(), out.get(), "", 0));
  return count;
}

}  // namespace hadal::sandbox
