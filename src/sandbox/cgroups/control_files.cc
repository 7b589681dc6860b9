#include "sandbox/cgroups/control_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "sandbox/fd.h"

namespace hadal::sandbox {
namespace {

std::unexpected<Error> system_error(const char* what, const std::string& path) {
  const int e = errno;
  const ErrorCode code = e == ENOENT ? ErrorCode::kNotFound : e == EBUSY ? ErrorCode::kBusy : ErrorCode::kIo;
  return fail(code, "cannot {} {}: {}", what, path, std::strerror(e));
}

class SystemControlFiles final : public ControlFiles {
 public:
  Result<std::string> read(const std::string& path) override {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return system_error("read", path);
    // A list of processes can be long; this is room for a hundred thousand.
    constexpr std::size_t kMost = 1 << 20;
    std::string text;
    char buffer[8192];
    while (text.size() < kMost) {
      const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
      if (n < 0) return system_error("read", path);
      if (n == 0) break;
      text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
  }

  Status write(const std::string& path, std::string_view text) override {
    const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) return system_error("write", path);
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      return system_error("write", path);
    return {};
  }

  Status make_folder(const std::string& path) override {
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return system_error("make", path);
    return {};
  }

  Status remove_folder(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return system_error("remove", path);
    return {};
  }

  std::vector<std::string> folders(const std::string& path) override {
    std::vector<std::string> names;
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) return names;
    while (const dirent* entry = ::readdir(dir))
      if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    ::closedir(dir);
    return names;
  }

  void kill(std::int64_t pid, int number) override { ::kill(static_cast<pid_t>(pid), number); }
};

}  // namespace

ControlFiles& system_control_files() {
  static SystemControlFiles files;
  return files;
}

}  // namespace hadal::sandbox
