#include "serve/trace.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "chat/python_json.h"

namespace hadal::serve {

Result<std::shared_ptr<Trace>> Trace::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  std::FILE* file = fd < 0 ? nullptr : fdopen(fd, "a");
  if (!file) {
    const int reason = errno;
    if (fd >= 0) ::close(fd);
    return fail(ErrorCode::kIo, "--trace {}: cannot be written: {}", path, std::strerror(reason));
  }
  return std::shared_ptr<Trace>(new Trace(file));
}

Trace::~Trace() { std::fclose(file_); }

void Trace::line(const std::string& request, std::string_view event, const std::string& members) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const std::string text =
      fmt::format("{{\"time\": {:.3f}, \"request\": {}, \"event\": {}{}{}}}\n", now, chat::json_string(request),
                  chat::json_string(event), members.empty() ? "" : ", ", members);
  const std::lock_guard lock(mutex_);
  std::fwrite(text.data(), 1, text.size(), file_);
  std::fflush(file_);
}

}  // namespace hadal::serve
