// How every command speaks: errors are one sentence on stderr, results on stdout, progress on stderr if it is a
// terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace hadal::cli {

// Prints "hadal: <sentence>" to stderr and gives the exit status (2 for unusable input, else 1).
int report(const Error& error);

// True once SIGINT arrived (installed by main). Long work polls it and stops cleanly.
bool interrupted();
void clear_interrupt();  // a new turn of an interactive session
void install_interrupt_handler();

// A progress bar with rate and ETA, drawn at most ten times a second, only when stderr is a terminal.
class Progress {
 public:
  Progress(std::string label, std::string unit, std::int64_t total);
  ~Progress();
  void update(std::int64_t done);
  void finish();

 private:
  std::string label_, unit_;
  std::int64_t total_, done_ = 0;
  Stopwatch since_start_;
  double last_ = 0;  // when it was last drawn
  bool terminal_ = false, drawn_ = false;
};

}  // namespace hadal::cli
