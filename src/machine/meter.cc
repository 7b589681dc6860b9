#include "machine/meter.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "machine/peaks.h"

namespace hadal {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double middle(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

// All threads leave together. Yields: there may be fewer cores than threads.
class Gate {
 public:
  explicit Gate(int threads) : waiting_(threads) {}
  void pass() {
    waiting_.fetch_sub(1);
    while (waiting_.load() > 0) std::this_thread::yield();
  }

 private:
  std::atomic<int> waiting_;
};

template <class F>
void on_all(int threads, F&& body) {
  std::vector<std::thread> helpers;
  for (int i = 1; i < threads; ++i) helpers.emplace_back([&body, i] { body(static_cast<std::size_t>(i)); });
  body(0);
  for (std::thread& t : helpers) t.join();
}

}  // namespace

MachineMeter::MachineMeter(int threads, std::string isa) : threads_(std::max(threads, 1)), isa_(std::move(isa)) {
  // Enough that a reread finds nothing in the last cache.
  const std::int64_t all = std::clamp(3 * machine_info().l3_bytes, std::int64_t{96} << 20, std::int64_t{2} << 30);
  bytes_ = std::max(all / threads_, std::int64_t{16} << 20);
  for (int i = 0; i < threads_; ++i) {
    buffers_.push_back(std::make_unique<HugeBuffer>(bytes_));
    if (buffers_.back()->data() == nullptr) {
      buffers_.clear();
      return;
    }
  }
  on_all(threads_, [&](std::size_t i) { std::memset(buffers_[i]->data(), 1, static_cast<std::size_t>(bytes_)); });
}

void MachineMeter::round() {
  if (!ready()) return;
  Gate start(threads_), read(threads_);
  const auto n = static_cast<std::size_t>(threads_);
  std::vector<double> begin(n), end(n), int8(n), bf16(n);
  on_all(threads_, [&](std::size_t i) {
    start.pass();
    begin[i] = now();
    read_once(buffers_[i]->data(), bytes_);
    end[i] = now();
    read.pass();  // nobody computes while others still read
    int8[i] = measured_peak(isa_, PeakKind::kInt8);
    bf16[i] = measured_peak(isa_, PeakKind::kBf16);
  });
  const double seconds = *std::max_element(end.begin(), end.end()) - *std::min_element(begin.begin(), begin.end());
  reads_.push_back(static_cast<double>(bytes_ * threads_) / std::max(seconds, 1e-9));
  double int8_sum = 0, bf16_sum = 0;
  for (std::size_t i = 0; i < n; ++i) int8_sum += int8[i], bf16_sum += bf16[i];
  int8_.push_back(int8_sum);
  bf16_.push_back(bf16_sum);
}

void MachineMeter::clear() {
  reads_.clear();
  int8_.clear();
  bf16_.clear();
}

MachineRates MachineMeter::median() const { return {middle(reads_), middle(int8_), middle(bf16_)}; }

}  // namespace hadal
