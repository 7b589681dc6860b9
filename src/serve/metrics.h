// Counters in Prometheus' text form.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "serve/http.h"
#include "sessions/job.h"
#include "sessions/scheduler.h"

namespace hadal::serve {

class Metrics {
 public:
  void request(std::string_view path, int status);  // answered
  void answer(const JobUsage& usage);
  std::string text(const SchedulerStats& scheduler, const HttpCounters& http, std::int64_t live) const;

 private:
  // Seconds; from a cached prompt on a small model to a long one read on a slow machine.
  static constexpr std::array<double, 10> kBuckets = {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300};
  struct Histogram {
    std::array<std::int64_t, kBuckets.size() + 1> counts{};
    double sum = 0;
    void add(double seconds);
  };
  static void write(std::string& out, std::string_view name, std::string_view help, const Histogram& h);

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::int64_t> requests_;
  Histogram first_token_, total_;
};

}  // namespace hadal::serve
