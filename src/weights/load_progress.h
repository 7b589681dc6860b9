// A line on the terminal that says how far loading a large model has come. Where standard error is no terminal, and for
// what is done in a moment, nothing is written.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "base/clock.h"

namespace hadal {

// "packing experts: 43 %, 3.1 of 7.2 GB, 1.20 GB/s, 4 s left"
std::string load_progress_line(const std::string& what, std::int64_t done_bytes, std::int64_t all_bytes,
                               double seconds);

// Any thread may report. The line is rewritten in place and gone when the object is.
class LoadProgress {
 public:
  static constexpr int kStandardError = 2;
  // A line begins after this long: who waits less needs no consolation.
  static constexpr double kPatienceSeconds = 0.7;

  LoadProgress(std::string what, std::int64_t all_bytes, int descriptor = kStandardError,
               double patience_seconds = kPatienceSeconds);
  ~LoadProgress();
  LoadProgress(const LoadProgress&) = delete;
  LoadProgress& operator=(const LoadProgress&) = delete;

  void add(std::int64_t bytes);

 private:
  void write(const std::string& text) const;

  const std::string what_;
  const std::int64_t all_bytes_;
  const int descriptor_;
  const bool terminal_;
  const Stopwatch watch_;
  std::mutex mutex_;
  std::int64_t done_bytes_ = 0;
  double next_seconds_;  // of the next line
  bool shown_ = false;
};

}  // namespace hadal
