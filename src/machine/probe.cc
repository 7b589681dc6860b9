#include "machine/probe.h"

#include <emmintrin.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>

#include "machine/cgroup.h"
#include "machine/cores.h"

namespace hadal {
namespace {

std::string cpu_model_name() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line))
    if (line.starts_with("model name"))
      if (std::size_t colon = line.find(':'); colon != std::string::npos && colon + 2 <= line.size())
        return line.substr(colon + 2);
  return "unknown processor";
}

// "48K", "32768K", "2M" as sysfs writes it.
std::int64_t size_text(const std::string& text) {
  std::int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return 0;
  char unit = end < text.data() + text.size() ? *end : ' ';
  return unit == 'K' ? value << 10 : unit == 'M' ? value << 20 : unit == 'G' ? value << 30 : value;
}

std::string word_of(const std::string& path) {
  std::ifstream in(path);
  std::string word;
  in >> word;
  return word;
}

void read_caches(MachineInfo& info) {
  for (int i = 0; i < 8; ++i) {
    const std::string base = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i);
    const std::string level = word_of(base + "/level"), type = word_of(base + "/type");
    if (level.empty()) break;
    const std::int64_t bytes = size_text(word_of(base + "/size"));
    if (level == "1" && type == "Data") info.l1d_bytes = bytes;
    if (level == "2") info.l2_bytes = bytes;
    if (level == "3") info.l3_bytes = bytes;
  }
}

// A "Name:   123 kB" line of /proc/meminfo.
std::int64_t meminfo(const char* name) {
  std::ifstream in("/proc/meminfo");
  std::string key, unit;
  std::int64_t kib = 0;
  while (in >> key >> kib) {
    std::getline(in, unit);
    if (key == name) return kib << 10;
  }
  return 0;
}

void read_isa(MachineInfo& info) {
  auto note = [&](bool present, const char* name) {
    if (present) info.isa.emplace_back(name);
  };
  note(__builtin_cpu_supports("sse4.2"), "sse4.2");
  note(__builtin_cpu_supports("avx2"), "avx2");
  note(__builtin_cpu_supports("fma"), "fma");
  note(__builtin_cpu_supports("avx512f"), "avx512f");
  note(__builtin_cpu_supports("avx512vbmi"), "avx512vbmi");
  note(__builtin_cpu_supports("avx512vnni"), "avx512vnni");
  note(__builtin_cpu_supports("avx512bf16"), "avx512bf16");
}

double measure_read_bandwidth(int threads) {
  // Three times the shared cache in all: enough that a reread finds nothing, little beside a session of a small model.
  MachineInfo caches;
  read_caches(caches);
  const std::int64_t all = std::clamp(3 * caches.l3_bytes, std::int64_t{96} << 20, std::int64_t{2} << 30);
  const std::int64_t bytes = std::max(all / threads, std::int64_t{16} << 20);
  std::vector<std::unique_ptr<HugeBuffer>> buffers;
  for (int i = 0; i < threads; ++i) {
    buffers.push_back(std::make_unique<HugeBuffer>(bytes));
    if (buffers.back()->data() == nullptr) return 0;
  }
  std::vector<double> rates(static_cast<std::size_t>(threads), 0.0);
  std::atomic<int> ready{0};
  auto body = [&](std::size_t i) {
    std::byte* data = buffers[i]->data();
    std::memset(data, 1, static_cast<std::size_t>(bytes));
    ready.fetch_add(1);
    while (ready.load() < threads) std::this_thread::yield();
    for (int round = 0; round < 5; ++round) {
      const double begin = thread_cpu_seconds();
      read_once(data, bytes);
      rates[i] = std::max(rates[i], static_cast<double>(bytes) / std::max(thread_cpu_seconds() - begin, 1e-9));
    }
  };
  std::vector<std::thread> helpers;
  for (int i = 1; i < threads; ++i) helpers.emplace_back(body, static_cast<std::size_t>(i));
  body(0);
  for (auto& t : helpers) t.join();
  double total = 0;
  for (double r : rates) total += r;
  return total;
}

}  // namespace

std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t size = 0, resident = 0;
  return in >> size >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

MachineInfo machine_info() {
  MachineInfo info;
  info.model_name = cpu_model_name();
  info.cores = available_cores();
  read_isa(info);
  read_caches(info);
  info.memory_total_bytes = meminfo("MemTotal:");
  info.memory_available_bytes = meminfo("MemAvailable:");
  if (CgroupLimits limits = cgroup_limits(); limits.memory_bytes >= 0) {
    const std::int64_t left = std::max<std::int64_t>(0, limits.memory_bytes - limits.memory_used_bytes);
    info.memory_total_bytes = std::min(info.memory_total_bytes, limits.memory_bytes);
    info.memory_available_bytes = std::min(info.memory_available_bytes, left);
  }
  return info;
}

double measured_read_rate(const std::vector<Bytes>& data, int threads) {
  if (threads <= 0) threads = available_cores();
  std::vector<double> rates(static_cast<std::size_t>(threads), 0.0);
  const auto body = [&](std::size_t i) {
    constexpr double kSeconds = 0.1;
    constexpr int kLeastRounds = 3;  // the first one fills the caches
    double spent = 0;
    for (int round = 0; round < kLeastRounds || spent < kSeconds; ++round) {
      std::int64_t bytes = 0;
      const double begin = thread_cpu_seconds();
      for (const Bytes& part : data) {  // each thread its own stretch of each
        const std::size_t length = part.size() / static_cast<std::size_t>(threads);
        read_once(part.data() + i * length, static_cast<std::int64_t>(length));
        bytes += static_cast<std::int64_t>(length);
      }
      const double took = std::max(thread_cpu_seconds() - begin, 1e-9);
      rates[i] = std::max(rates[i], static_cast<double>(bytes) / took);
      spent += took;
    }
  };
  std::vector<std::thread> helpers;
  for (std::size_t i = 1; i < rates.size(); ++i) helpers.emplace_back(body, i);
  body(0);
  for (std::thread& t : helpers) t.join();
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

double measured_read_bandwidth(int threads) {
  static std::mutex mutex;
  static std::map<int, double> known;
  if (threads <= 0) threads = available_cores();
  std::lock_guard lock(mutex);
  auto found = known.find(threads);
  if (found == known.end()) found = known.emplace(threads, measure_read_bandwidth(threads)).first;
  return found->second;
}

void read_once(const void* data, std::int64_t n) {
  const auto* p = static_cast<const __m128i*>(data);
  __m128i acc[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
  for (std::int64_t i = 0; i + 16 <= n / 16; i += 16, p += 16)
    for (int j = 0; j < 16; ++j) acc[j % 4] = _mm_or_si128(acc[j % 4], _mm_loadu_si128(p + j));
  __m128i all = _mm_or_si128(_mm_or_si128(acc[0], acc[1]), _mm_or_si128(acc[2], acc[3]));
  asm volatile("" ::"x"(all));  // the reads must not be optimised away
}

double thread_cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

HugeBuffer::HugeBuffer(std::int64_t bytes) {
  constexpr std::int64_t kPage = std::int64_t{2} << 20;
  mapped_bytes_ = (bytes + kPage - 1) / kPage * kPage + kPage;  // one page more, to start on a boundary
  void* p = mmap(nullptr, static_cast<std::size_t>(mapped_bytes_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                 -1, 0);
  if (p == MAP_FAILED) return;
  mapping_ = p;
  auto address = reinterpret_cast<std::uintptr_t>(p);
  data_ = static_cast<std::byte*>(p) + (kPage - static_cast<std::int64_t>(address % kPage)) % kPage;
  madvise(data_, static_cast<std::size_t>(mapped_bytes_ - kPage), MADV_HUGEPAGE);
}

HugeBuffer::~HugeBuffer() {
  if (mapping_ != nullptr) munmap(mapping_, static_cast<std::size_t>(mapped_bytes_));
}

}  // namespace hadal
