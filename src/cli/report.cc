#include "cli/report.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace hadal::cli {
namespace {

std::atomic<bool> g_interrupted{false};

void on_interrupt(int) {
  // A second Ctrl-C ends the process at once: the first asked politely.
  if (g_interrupted.exchange(true)) _exit(130);
}

std::string duration_text(double seconds) {
  auto s = static_cast<std::int64_t>(seconds + 0.5);
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
}

}  // namespace

int report(const Error& error) {
  note("hadal: {}\n", error.what);
  return exit_status(error.code);
}

void note_text(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

void hold_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // Opened the wrong way round, so that reading stdin and writing stdout still fail and are reported.
    (void)::open("/dev/null", fd == 1 ? O_RDONLY : O_WRONLY);
  }
}

int finish_output(int status) {
  const bool failed_before = std::ferror(stdout) != 0;
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  if (status != 0 || (flushed && !failed_before)) return status;
  const std::string reason = errno != 0 ? fmt::format(" ({})", std::strerror(errno)) : "";
  return report({ErrorCode::kIo, fmt::format("standard output could not be written{}; the output is not complete, "
                                             "give it a place that takes it",
                                             reason)});
}

Status input_ended() {
  if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted while reading standard input");
  if (std::ferror(stdin) == 0) return {};
  return fail(ErrorCode::kBadInput,
              "standard input cannot be read; give it a file or a pipe (it is closed, or a folder)");
}

std::string machine_json(const MachineInfo& m) {
  const nlohmann::ordered_json out = {{"model", m.model_name},
                                      {"cores", m.cores},
                                      {"isa", m.isa},
                                      {"l1d_bytes", m.l1d_bytes},
                                      {"l2_bytes", m.l2_bytes},
                                      {"l3_bytes", m.l3_bytes},
                                      {"memory_total_bytes", m.memory_total_bytes},
                                      {"memory_available_bytes", m.memory_available_bytes}};
  return out.dump();
}

std::string machine_text(const MachineInfo& m) {
  return fmt::format("{}, {} core{}, {} MiB last-level cache, {:.1f} GB memory", m.model_name, m.cores,
                     m.cores == 1 ? "" : "s", m.l3_bytes >> 20, static_cast<double>(m.memory_total_bytes) / 1e9);
}

Status check_plots(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) HADAL_CHECK_OK(check_plot_path(path));
  return {};
}

Status write_plots(const Plot& plot, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) HADAL_CHECK_OK(write_plot(plot, path));
  return {};
}

bool interrupted() { return g_interrupted.load(std::memory_order_relaxed); }

void clear_interrupt() { g_interrupted.store(false, std::memory_order_relaxed); }

void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
}

Progress::Progress(std::string label, std::string unit, std::int64_t total)
    : label_(std::move(label)), unit_(std::move(unit)), total_(total), terminal_(isatty(2) == 1) {}

Progress::~Progress() { finish(); }

void Progress::update(std::int64_t done) {
  done_ = done;
  double now = since_start_.seconds();
  if (!terminal_ || now - last_ < 0.1 || now < 0.5) return;
  last_ = now;
  drawn_ = true;
  double rate = static_cast<double>(done) / now;
  constexpr int kWidth = 30;  // columns of the bar; the line stays under 80
  int filled = total_ > 0 ? static_cast<int>(kWidth * done / total_) : 0;
  std::string bar(static_cast<std::size_t>(filled), '#');
  bar.resize(kWidth, '.');
  note("\r{} [{}] {:3.0f}%  {:.0f} {}/s  ETA {}\033[K", label_, bar,
       total_ > 0 ? 100.0 * static_cast<double>(done) / static_cast<double>(total_) : 0.0, rate, unit_,
       rate > 0 ? duration_text(static_cast<double>(total_ - done) / rate) : "?");
  std::fflush(stderr);
}

void Progress::finish() {
  if (drawn_) note("\r\033[K");
  drawn_ = false;
}

}  // namespace hadal::cli
