#include "serve/metrics.h"

#include <fmt/format.h>

#include <numeric>

namespace hadal::serve {

void Metrics::Histogram::add(double seconds) {
  std::size_t i = 0;
  while (i < kBuckets.size() && seconds > kBuckets[i]) ++i;
  ++counts[i];
  sum += seconds;
}

void Metrics::request(std::string_view path, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{std::string(path), status}];
}

void Metrics::answer(const JobUsage& usage) {
  const std::lock_guard lock(mutex_);
  first_token_.add(usage.queue_seconds + usage.prefill_seconds);
  total_.add(usage.queue_seconds + usage.prefill_seconds + usage.decode_seconds);
}

void Metrics::write(std::string& out, std::string_view name, std::string_view help, const Histogram& h) {
  out += fmt::format("# HELP {0} {1}\n# TYPE {0} histogram\n", name, help);
  std::int64_t below = 0;
  for (std::size_t i = 0; i < kBuckets.size(); ++i)
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBuckets[i], below += h.counts[i]);
  below += h.counts.back();
  out += fmt::format("{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name, below, h.sum);
}

std::string Metrics::text(const SchedulerStats& s, const HttpCounters& http, std::int64_t live) const {
  std::string out;
  auto one = [&](std::string_view name, std::string_view type, std::string_view help, std::int64_t value) {
    out += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", name, help, type, value);
  };
  one("hadal_jobs_running", "gauge", "Jobs being generated.", s.running);
  one("hadal_jobs_waiting", "gauge", "Jobs in line.", s.waiting);
  one("hadal_jobs_finished_total", "counter", "Jobs that ended.", s.finished);
  one("hadal_jobs_refused_total", "counter", "Jobs refused because the line was full.", s.refused);
  one("hadal_jobs_cancelled_total", "counter", "Jobs cancelled.", s.cancelled);
  one("hadal_prompt_tokens_total", "counter", "Prompt tokens of all jobs.", s.prompt_tokens);
  one("hadal_cached_tokens_total", "counter", "Prompt tokens that were found in the cache.", s.cached_tokens);
  one("hadal_generated_tokens_total", "counter", "Tokens generated.", s.generated_tokens);
  one("hadal_steps_total", "counter", "Steps of the model.", s.steps);
  one("hadal_cache_bytes", "gauge", "Memory of kept prefixes.", s.cache_bytes);
  one("hadal_answers_open", "gauge", "Requests whose answers are being made.", live);
  one("hadal_http_connections", "gauge", "Open connections.", http.connections);
  one("hadal_http_connections_total", "counter", "Connections accepted.", http.accepted);
  one("hadal_http_refused_total", "counter", "Connections and requests the transport refused.", http.refused);
  one("hadal_http_left_total", "counter", "Requests whose client left before the answer was complete.", http.left);
  const std::lock_guard lock(mutex_);
  out += "# HELP hadal_http_requests_total Requests answered.\n# TYPE hadal_http_requests_total counter\n";
  for (const auto& [key, count] : requests_)
    out += fmt::format("hadal_http_requests_total{{path=\"{}\",status=\"{}\"}} {}\n", key.first, key.second, count);
  write(out, "hadal_first_token_seconds", "From asking to the first token.", first_token_);
  write(out, "hadal_answer_seconds", "From asking to the last token.", total_);
  return out;
}

}  // namespace hadal::serve
