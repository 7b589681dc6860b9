#include "base/log.h"

#include <unistd.h>

#include <cstdlib>
#include <string>

namespace hadal {

LogLevel parse_log_level(std::string_view word, bool* known) {
  if (known) *known = true;
  if (word == "error") return LogLevel::kError;
  if (word == "warn") return LogLevel::kWarn;
  if (word == "info") return LogLevel::kInfo;
  if (word == "debug") return LogLevel::kDebug;
  if (known) *known = false;
  return LogLevel::kWarn;
}

LogLevel log_level() {
  static const LogLevel level = [] {
    const char* word = std::getenv("HADAL_LOG");
    if (!word || !*word) return LogLevel::kWarn;
    bool known = false;
    LogLevel parsed = parse_log_level(word, &known);
    if (!known) log_line(LogLevel::kWarn, fmt::format("HADAL_LOG='{}' is not error, warn, info or debug", word));
    return parsed;
  }();
  return level;
}

std::string format_log_line(LogLevel level, std::string_view text) {
  constexpr std::string_view kWords[] = {"error", "warning", "info", "debug"};
  std::string line = fmt::format("hadal: {}: ", kWords[static_cast<int>(level)]);
  for (char c : text) {
    line += c;
    if (c == '\n') line += "  ";
  }
  line += '\n';
  return line;
}

void log_line(LogLevel level, std::string_view text) {
  std::string line = format_log_line(level, text);
  const char* from = line.data();
  std::size_t left = line.size();
  while (left > 0) {  // a pipe may take less than the whole line
    ssize_t wrote = write(STDERR_FILENO, from, left);
    if (wrote <= 0) return;  // nobody reads stderr: nothing more can be said
    from += wrote;
    left -= static_cast<std::size_t>(wrote);
  }
}

}  // namespace hadal
