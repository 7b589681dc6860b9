// Files of a sandbox, seen from a process that is root there and nothing on the host. Paths are resolved by the kernel
// beneath the sandbox's root; only regular files are opened for their content.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "sandbox/container/child.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostEntries = 65536;  // of one listing: 10 MB of JSON
constexpr int kMostDepth = 512;              // of a tree being removed: each level holds a descriptor

Json error_json(const char* code, const std::string& sentence) { return {{"code", code}, {"what", sentence}}; }

Json errno_json(const std::string& path, const char* what) {
  const int e = errno;
  const char* code = e == ENOENT || e == ENOTDIR                                  ? "not_found"
                     : e == EISDIR || e == EEXIST || e == ENOTEMPTY || e == ELOOP ? "invalid_request"
                     : e == ENOSPC || e == EDQUOT                                 ? "disk_full"
                                                                                  : "io";
  return error_json(code, fmt::format("cannot {} {}: {}", what, path, std::strerror(e)));
}

Json info_json(const struct stat& s, const std::string& name) {
  const char type = S_ISREG(s.st_mode) ? 'f' : S_ISDIR(s.st_mode) ? 'd' : S_ISLNK(s.st_mode) ? 'l' : 'o';
  return {{"name", name},
          {"type", std::string(1, type)},
          {"mode", s.st_mode & 07777},
          {"uid", s.st_uid},
          {"gid", s.st_gid},
          {"size", s.st_size},
          {"modified_ns", std::int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec}};
}

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

Json read_file(int root, const std::string& path, std::int64_t offset, std::int64_t limit, int out) {
  const Fd place(open_in_root(root, path, O_PATH));
  struct stat s;
  if (!place || ::fstat(place.get(), &s) != 0) return errno_json(path, "read");
  if (S_ISDIR(s.st_mode)) return error_json("invalid_request", fmt::format("{} is a folder; list it", path));
  if (!S_ISREG(s.st_mode)) return error_json("invalid_request", fmt::format("{} is not a regular file", path));
  const Fd fd(open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat again;
  if (!fd || ::fstat(fd.get(), &again) != 0) return errno_json(path, "read");
  if (!S_ISREG(again.st_mode))
    return error_json("invalid_request", fmt::format("{} changed while it was opened", path));
  std::string buffer(256 << 10, '\0');
  std::int64_t left = limit;
  while (left > 0) {
    const auto want = static_cast<std::size_t>(std::min<std::int64_t>(left, static_cast<std::int64_t>(buffer.size())));
    const ssize_t n = ::pread(fd.get(), buffer.data(), want, offset);
    if (n < 0) return errno_json(path, "read");
    if (n == 0) break;
    if (!write_all(out, buffer.data(), static_cast<std::size_t>(n))) return errno_json(path, "pass on");
    offset += n;
    left -= n;
  }
  return {{"info", info_json(again, path)}};
}

struct Parent {
  Fd folder;
  std::string name;
};

bool split(int root, const std::string& path, Parent& p) {
  std::string clean = path;
  while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  const auto slash = clean.rfind('/');
  p.name = clean.substr(slash + 1);
  if (p.name.empty() || p.name == "." || p.name == "..") {
    errno = EISDIR;
    return false;
  }
  p.folder = Fd(open_in_root(root, slash == 0 ? "/" : clean.substr(0, slash), O_PATH | O_DIRECTORY));
  return static_cast<bool>(p.folder);
}

Json write_file(int root, const std::string& path, unsigned mode, int in) {
  Parent p;
  if (!split(root, path, p)) return errno_json(path, "write");
  struct stat old;
  const bool there = ::fstatat(p.folder.get(), p.name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
  if (there && S_ISDIR(old.st_mode)) return error_json("invalid_request", fmt::format("{} is a folder", path));
  // Complete under its name or not there at all: written beside it and renamed over it.
  const std::string temporary = fmt::format(".{:.200}.{}.partial", p.name, ::getpid());
  ::umask(0);
  const Fd fd(::openat(p.folder.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       mode != 0                       ? mode
                       : there && S_ISREG(old.st_mode) ? old.st_mode & 07777
                                                       : 0644));
  if (!fd) return errno_json(path, "write");
  const auto undo = [&](const char* what) {
    const Json e = errno_json(path, what);
    ::unlinkat(p.folder.get(), temporary.c_str(), 0);
    return e;
  };
  std::string buffer(256 << 10, '\0');
  for (ssize_t n; (n = ::read(in, buffer.data(), buffer.size())) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 || !write_all(fd.get(), buffer.data(), static_cast<std::size_t>(n))) return undo("write");
  }
  if (there && S_ISREG(old.st_mode)) (void)!::fchown(fd.get(), old.st_uid, old.st_gid);
  struct stat s;
  if (::fstat(fd.get(), &s) != 0) return undo("write");
  if (::renameat(p.folder.get(), temporary.c_str(), p.folder.get(), p.name.c_str()) != 0) return undo("replace");
  return {{"info", info_json(s, path)}};
}

Json list(int root, const std::string& path, int out) {
  Fd fd(open_in_root(root, path, O_RDONLY | O_DIRECTORY));
  if (!fd) return errno_json(path, "list");
  DIR* dir = ::fdopendir(fd.release());
  if (dir == nullptr) return errno_json(path, "list");
  Json rows = Json::array();
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (rows.size() == kMostEntries) {
      ::closedir(dir);
      return error_json("invalid_request", fmt::format("{} has more than {} entries", path, kMostEntries));
    }
    struct stat s;
    if (::fstatat(::dirfd(dir), name.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) continue;  // removed meanwhile
    Json row = info_json(s, name);
    if (S_ISLNK(s.st_mode)) {
      char target[4096];
      const ssize_t n = ::readlinkat(::dirfd(dir), name.c_str(), target, sizeof target);
      if (n > 0) row["target"] = std::string(target, static_cast<std::size_t>(n));
    }
    rows.push_back(std::move(row));
  }
  ::closedir(dir);
  const std::string text = rows.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (!write_all(out, text.data(), text.size())) return errno_json(path, "pass on");
  return Json::object();
}

Json stat_path(int root, const std::string& path) {
  const Fd fd(open_in_root(root, path, O_PATH | O_NOFOLLOW));
  struct stat s;
  if (!fd || ::fstat(fd.get(), &s) != 0) return errno_json(path, "look at");
  Json info = info_json(s, path);
  if (S_ISLNK(s.st_mode)) {
    char target[4096];
    const ssize_t n = ::readlinkat(fd.get(), "", target, sizeof target);
    if (n > 0) info["target"] = std::string(target, static_cast<std::size_t>(n));
  }
  return {{"info", info}};
}

bool remove_tree(int folder, const std::string& name, int depth) {
  if (::unlinkat(folder, name.c_str(), 0) == 0) return true;
  if (errno != EISDIR && errno != EPERM) return false;
  if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0) return true;
  if (errno != ENOTEMPTY && errno != EEXIST) return false;
  if (depth == kMostDepth) {
    errno = ENAMETOOLONG;
    return false;
  }
  // Rounds, because the sandbox may put new files in while this runs; it may not do so for ever.
  for (int round = 0; round < 8; ++round) {
    Fd fd(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return false;
    DIR* dir = ::fdopendir(fd.release());
    if (dir == nullptr) return false;
    bool fine = true;
    while (const dirent* entry = fine ? ::readdir(dir) : nullptr) {
      const std::string inner = entry->d_name;
      if (inner != "." && inner != "..") fine = remove_tree(::dirfd(dir), inner, depth + 1) || errno == ENOENT;
    }
    const int e = errno;
    ::closedir(dir);
    errno = e;
    if (!fine) return false;
    if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0) return true;
    if (errno != ENOTEMPTY && errno != EEXIST) return false;
  }
  return false;
}

Json remove_path(int root, const std::string& path, bool recursive) {
  Parent p;
  if (!split(root, path, p)) return errno_json(path, "remove");
  struct stat s;
  if (::fstatat(p.folder.get(), p.name.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) return errno_json(path, "remove");
  const bool gone = recursive            ? remove_tree(p.folder.get(), p.name, 0)
                    : S_ISDIR(s.st_mode) ? ::unlinkat(p.folder.get(), p.name.c_str(), AT_REMOVEDIR) == 0
                                         : ::unlinkat(p.folder.get(), p.name.c_str(), 0) == 0;
  return gone ? Json::object() : errno_json(path, "remove");
}

Json make_folder(int root, const std::string& path, unsigned mode, bool parents) {
  ::umask(0);
  if (parents)
    for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      const Json made = make_folder(root, path.substr(0, slash), 0755, false);
      if (made.contains("code")) return made;
    }
  Parent p;
  if (!split(root, path, p)) return parents ? Json::object() : errno_json(path, "make");
  if (::mkdirat(p.folder.get(), p.name.c_str(), mode != 0 ? mode : 0755) != 0 && errno != EEXIST)
    return errno_json(path, "make");
  return Json::object();
}

}  // namespace

std::string work_on_files(int root, const std::string& request, int in, int out) {
  const Json r = Json::parse(request);
  const std::string kind = r.at("kind"), path = r.at("path");
  const unsigned mode = r.value("mode", 0U) & 07777;
  Json answer;
  if (path.empty() || path[0] != '/' || path.size() > 4096 || path.find('\0') != std::string::npos)
    answer = error_json("invalid_request", "a path must begin with / and have at most 4096 bytes");
  else if (kind == "read")
    answer = read_file(root, path, r.at("offset"), r.at("limit"), out);
  else if (kind == "write")
    answer = write_file(root, path, mode, in);
  else if (kind == "list")
    answer = list(root, path, out);
  else if (kind == "stat")
    answer = stat_path(root, path);
  else if (kind == "remove")
    answer = remove_path(root, path, r.value("recursive", false));
  else
    answer = make_folder(root, path, mode, r.value("recursive", false));
  return answer.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hadal::sandbox
