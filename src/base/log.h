// Log lines on stderr: "hadal: warning: <text>". One write per line, so lines of several threads never mix.
// The environment variable HADAL_LOG (error, warn, info, debug) sets what is shown; the default is warn.
// Libraries may log progress and oddities; a failure is a Result, never only a log line.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace hadal {

enum class LogLevel { kError, kWarn, kInfo, kDebug };

// The level of HADAL_LOG, read once. A value that is none of the four counts as warn and is itself logged.
LogLevel log_level();

// Writes one line when `level` is shown; an embedded newline is kept and indented.
void log_line(LogLevel level, std::string_view text);

template <class... Args>
void log_at(LogLevel level, fmt::format_string<Args...> text, Args&&... args) {
  if (level <= log_level()) log_line(level, fmt::format(text, std::forward<Args>(args)...));
}

// The words of HADAL_LOG. Unknown: kWarn, and *known (if given) is false.
LogLevel parse_log_level(std::string_view word, bool* known = nullptr);

// The line log_line writes, newline included.
std::string format_log_line(LogLevel level, std::string_view text);

}  // namespace hadal
