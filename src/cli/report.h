// How every command speaks: errors are one sentence on stderr, results on stdout, progress on stderr if it is a
// terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "machine/probe.h"
#include "plan/plot.h"

namespace hadal::cli {

// Prints "hadal: <sentence>" to stderr and gives the exit status: base/result.h's; work that Ctrl-C stopped
// has failed, so that is 1.
int report(const Error& error);

// Prints to stderr. A stderr that takes nothing is no reason to stop, so failure is ignored.
void note_text(std::string_view text);
template <class... Args>
void note(fmt::format_string<Args...> text, Args&&... args) {
  note_text(fmt::format(text, std::forward<Args>(args)...));
}

// Gives descriptors 0 to 2 a place if the caller closed them; otherwise the next file opened would be, say, stderr, and
// messages would be written into it.
void hold_standard_streams();
// Writes out what stdout still holds. The status to exit with: `status`, or 1 if that was 0 and the output is lost.
int finish_output(int status);
// After the last line of standard input: an error if reading broke off, by Ctrl-C or because it cannot be read.
Status input_ended();

// What every measurement is printed with, as the value of "machine": a JSON object.
std::string machine_json(const MachineInfo& machine);
// The same for people, on one line.
std::string machine_text(const MachineInfo& machine);

// Plots asked for: refused before the work, written after it.
Status check_plots(const std::vector<std::string>& paths);
Status write_plots(const Plot& plot, const std::vector<std::string>& paths);

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
