#include "weights/load_progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace hadal {
namespace {

constexpr double kBetweenSeconds = 0.2;          // lines: the eye reads no faster
constexpr const char* kLineStart = "\r\033[2K";  // to the first column, the line erased

}  // namespace

std::string load_progress_line(const std::string& what, std::int64_t done_bytes, std::int64_t all_bytes,
                               double seconds) {
  const auto done = static_cast<double>(done_bytes), all = static_cast<double>(std::max<std::int64_t>(all_bytes, 1));
  const double rate = seconds > 0 ? done / seconds : 0;
  std::string line = fmt::format("{}: {:.0f} %, {:.1f} of {:.1f} GB", what, 100 * done / all, done / 1e9, all / 1e9);
  if (rate > 0) line += fmt::format(", {:.2f} GB/s, {:.0f} s left", rate / 1e9, std::max(0.0, all - done) / rate);
  return line;
}

LoadProgress::LoadProgress(std::string what, std::int64_t all_bytes, int descriptor, double patience_seconds)
    : what_(std::move(what)),
      all_bytes_(all_bytes),
      descriptor_(descriptor),
      terminal_(::isatty(descriptor) == 1),
      next_seconds_(patience_seconds) {}

LoadProgress::~LoadProgress() {
  if (shown_) write(kLineStart);
}

void LoadProgress::add(std::int64_t bytes) {
  if (!terminal_) return;
  const std::lock_guard lock(mutex_);
  done_bytes_ += bytes;
  const double seconds = watch_.seconds();
  if (seconds < next_seconds_) return;
  next_seconds_ = seconds + kBetweenSeconds;
  shown_ = true;
  write(kLineStart + load_progress_line(what_, done_bytes_, all_bytes_, seconds));
}

// A terminal that takes nothing is no reason to stop.
void LoadProgress::write(const std::string& text) const {
  [[maybe_unused]] const ssize_t written = ::write(descriptor_, text.data(), text.size());
}

}  // namespace hadal
