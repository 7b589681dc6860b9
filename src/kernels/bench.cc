#include "kernels/bench.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "kernels/kernels.h"
#include "machine/peaks.h"
#include "machine/probe.h"
#include "machine/thread_pool.h"

namespace hadal {
namespace {

// Weight bytes a thread streams: far beyond its share of the last cache; all threads together stay at about 4 GiB.
std::int64_t stream_bytes(int threads) {
  return std::clamp((std::int64_t{4} << 30) / threads, std::int64_t{32} << 20, std::int64_t{128} << 20) >> 21 << 21;
}
constexpr std::int64_t kRows = 2048, kCols = 4096;  // an expert's gate matrix in V4-Flash

std::uint64_t scramble(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

std::vector<float> numbers(std::int64_t n, std::uint64_t seed) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) x = static_cast<float>(scramble(seed += 0x9E3779B97F4A7C15ull) >> 40) / (1 << 24) - 0.5f;
  return v;
}

// One thread's inputs. All formats read the same bytes: any bytes are valid weights, and values do not change the
// speed.
struct Lane {
  explicit Lane(std::int64_t n) : bytes(n), stream(n) {}
  std::int64_t bytes;
  HugeBuffer stream;
  std::vector<float> scales;

  bool fill(std::uint64_t seed) {
    if (stream.data() == nullptr) return false;
    for (std::int64_t i = 0; i < bytes; i += 8) {
      const std::uint64_t v = scramble(seed += 0x9E3779B97F4A7C15ull) & 0x3f3f3f3f3f3f3f3full;  // bfloat16 below 2
      std::memcpy(stream.data() + i, &v, 8);
    }
    scales.assign(static_cast<std::size_t>(kRows / 16 * (kCols / 128)), 0.01f);
    return true;
  }
};

// Best rates over some rounds of a unit of work and its yardstick, alternating, each thread on its own CPU clock. A
// unit is a few milliseconds, so that on a busy machine some rounds run without being interrupted.
struct Rates {
  double work, limit;
};
template <class Work, class Limit>
Rates alternate(int threads, int rounds, Work work, Limit limit) {
  std::vector<Rates> best(static_cast<std::size_t>(threads), Rates{0, 0});
  std::atomic<int> ready{0};
  auto body = [&](int i) {
    FlushDenormals flush;
    ready.fetch_add(1);
    while (ready.load() < threads) std::this_thread::yield();
    Rates& r = best[static_cast<std::size_t>(i)];
    for (int round = 0; round < rounds; ++round) {
      r.limit = std::max(r.limit, limit(i));
      const double begin = thread_cpu_seconds();
      const double done = work(i);
      r.work = std::max(r.work, done / std::max(thread_cpu_seconds() - begin, 1e-9));
    }
  };
  std::vector<std::thread> helpers;
  for (int i = 1; i < threads; ++i) helpers.emplace_back(body, i);
  body(0);
  for (auto& t : helpers) t.join();
  Rates total{0, 0};
  for (const Rates& r : best) total = {total.work + r.work, total.limit + r.limit};
  return total;
}

class Bench {
 public:
  Bench(int threads, const std::function<bool(const BenchRow&)>& each) : threads_(threads), each_(each) {
    for (int i = 0; i < threads; ++i) {
      lanes_.push_back(std::make_unique<Lane>(stream_bytes(threads)));
      if (!lanes_.back()->fill(static_cast<std::uint64_t>(i) + 1)) lanes_.clear(), threads_ = 0;
      if (threads_ == 0) return;
    }
  }
  bool ready() const { return !lanes_.empty(); }

  void run(const KernelTable& set) {
    set_ = &set;
    const bool slow = std::strcmp(set.name, "scalar") == 0;
    matvec("fp4_matvec", Encoding::kFp4, ActivationKind::kInt8, slow);
    matvec("fp8_matvec", Encoding::kFp8, ActivationKind::kBf16, slow);
    matvec("bf16_matvec", Encoding::kBf16, ActivationKind::kBf16, slow);
    batch("fp4_batch8", Encoding::kFp4, ActivationKind::kInt8, 8, slow);
    batch("fp8_batch8", Encoding::kFp8, ActivationKind::kBf16, 8, slow);
    batch("fp4_gemm48", Encoding::kFp4, ActivationKind::kInt8, 48, slow);
    attention(slow);
    indexer(slow);
    topk();
  }
  std::vector<BenchRow> rows;

 private:
  PackedMatrix matrix(Encoding encoding, const Lane& lane, std::int64_t at) const {
    return {encoding, kRows, kCols, lane.stream.data() + at, lane.scales.data()};
  }
  struct Packed {
    Activations view;
    std::vector<std::byte> bytes;
  };
  Packed pack(ActivationKind kind, std::int64_t tokens) const {
    Packed p;
    const auto x = numbers(tokens * kCols, 5);
    p.bytes.resize(static_cast<std::size_t>(activation_bytes(kind, tokens, kCols)));
    set_->pack_activations(kind, x.data(), kCols, nullptr, tokens, kCols, p.bytes.data());
    p.view = {kind, tokens, kCols, p.bytes.data()};
    return p;
  }
  void add(const char* name, const char* unit, Rates r, double per) {
    BenchRow row{name, set_->name, threads_, r.work / per, unit, r.limit / per, r.limit > 0 ? r.work / r.limit : 0};
    rows.push_back(row);
    if (!each_(row)) stopped_ = true;
  }

  // Weights from memory against a plain read of the same bytes.
  void matvec(const char* name, Encoding encoding, ActivationKind kind, bool slow) {
    if (stopped_) return;
    const Packed x = pack(kind, 1);
    const std::int64_t bytes = matrix(encoding, *lanes_[0], 0).bytes();
    const std::int64_t stream = lanes_[0]->bytes, count = slow ? 1 : stream / bytes;
    Rates r = alternate(
        threads_, slow ? 1 : 12,
        [&](int i) {
          std::vector<float> y(kRows);
          for (std::int64_t m = 0; m < count; ++m) {
            const PackedMatrix w = matrix(encoding, *lanes_[static_cast<std::size_t>(i)], m * bytes);
            set_->matmul(w, 0, slow ? 8 : w.tile_count(), x.view, y.data(), kRows);
          }
          const std::int64_t tiles = kRows / kTileRows;
          return static_cast<double>(count * bytes) * (slow ? 8.0 / static_cast<double>(tiles) : 1.0);
        },
        [&](int i) {
          const double begin = thread_cpu_seconds();
          read_once(lanes_[static_cast<std::size_t>(i)]->stream.data(), stream);
          return static_cast<double>(stream) / (thread_cpu_seconds() - begin);
        });
    add(name, "GB/s", r, 1e9);
  }

  // Weights from memory, several tokens, against the multiply-add instruction.
  void batch(const char* name, Encoding encoding, ActivationKind kind, std::int64_t tokens, bool slow) {
    if (stopped_) return;
    const Packed x = pack(kind, tokens);
    const std::int64_t bytes = matrix(encoding, *lanes_[0], 0).bytes();
    const std::int64_t count = slow ? 1 : std::max<std::int64_t>(1, tokens > 8 ? 1 : lanes_[0]->bytes / bytes / 4);
    const std::int64_t tiles = slow ? 1 : kRows / 16;
    Rates r = alternate(
        threads_, slow ? 1 : 16,
        [&](int i) {
          std::vector<float> y(static_cast<std::size_t>(tokens * kRows));
          for (std::int64_t m = 0; m < count; ++m)
            set_->matmul(matrix(encoding, *lanes_[static_cast<std::size_t>(i)], m * bytes), 0, tiles, x.view, y.data(),
                         kRows);
          return 2.0 * static_cast<double>(tokens * count * tiles * 16 * kCols);
        },
        [&](int) {
          return measured_peak(set_->name, kind == ActivationKind::kInt8 ? PeakKind::kInt8 : PeakKind::kBf16);
        });
    add(name, kind == ActivationKind::kInt8 ? "GOP/s" : "GFLOP/s", r, 1e9);
  }

  // 64 heads over 640 rows scattered over a cache of 20,000: one CSA layer of V4-Flash, one token.
  void attention(bool slow) {
    if (stopped_) return;
    const RowShape shape{512, 64};
    const int heads = slow ? 4 : 64;
    const std::int64_t cache = 20000, count = 640;
    std::vector<std::byte> rows_data(static_cast<std::size_t>(cache * shape.packed_bytes()));
    const auto kv = numbers(512 * 64, 9);
    for (std::int64_t i = 0; i < cache; ++i) {
      std::byte* row = rows_data.data() + i * shape.packed_bytes();
      if (i < 64)
        set_->encode_row(shape, kv.data() + i * 512, row);
      else
        std::memcpy(row, row - 64 * shape.packed_bytes(), static_cast<std::size_t>(shape.packed_bytes()));
    }
    std::vector<const std::byte*> list;
    for (std::int64_t i = 0; i < count; ++i)
      list.push_back(rows_data.data() + static_cast<std::int64_t>(scramble(static_cast<std::uint64_t>(i) + 1) % 20000) *
                                            shape.packed_bytes());
    const auto q = numbers(heads * 512, 3);
    const std::int64_t scratch_bytes = set_->attend_scratch_bytes(shape, heads);
    std::vector<std::unique_ptr<HugeBuffer>> scratch;
    for (int i = 0; i < threads_; ++i) {
      scratch.push_back(std::make_unique<HugeBuffer>(scratch_bytes));
      if (scratch.back()->data() == nullptr) return;
      std::memset(scratch.back()->data(), 0, static_cast<std::size_t>(scratch_bytes));
    }
    std::vector<std::vector<float>> outs(lanes_.size(), std::vector<float>(static_cast<std::size_t>(heads * 514)));
    Rates r = alternate(
        threads_, slow ? 1 : 16,
        [&](int i) {
          float* out = outs[static_cast<std::size_t>(i)].data();
          AttendArgs args{
              shape,        heads, q.data(),    list.data(),     count,
              0.044194174f, out,   out + heads, out + 2 * heads, scratch[static_cast<std::size_t>(i)]->data()};
          const int loops = slow ? 1 : 5;
          for (int j = 0; j < loops; ++j) set_->attend_packed(args);
          return 4.0 * heads * count * 512 * loops;
        },
        [&](int) { return measured_peak(set_->name, PeakKind::kBf16); });
    add("attention", "GFLOP/s", r, 1e9);
  }

  // 64 query heads of 128 against 64 K of context: 16,384 keys.
  void indexer(bool slow) {
    if (stopped_) return;
    const int heads = 64, dim = 128;
    const std::int64_t tiles = slow ? 1 : 1024, tile_bytes = dim / 32 * kFp4TileBytes;
    std::vector<std::byte> keys(static_cast<std::size_t>(tiles * tile_bytes));
    const auto values = numbers(128 * 16 * 4, 2);
    for (std::int64_t t = 0; t < tiles; ++t)
      for (int lane = 0; lane < 16; ++lane)
        set_->encode_index_key(values.data() + (t % 4 * 16 + lane) * dim, dim, keys.data() + t * tile_bytes, lane);
    const auto q = numbers(heads * dim, 4), weight = numbers(heads, 6);
    std::vector<std::int8_t> codes(q.size());
    std::vector<float> q_scale(q.size() / 32);
    set_->encode_index_query(q.data(), heads, dim, codes.data(), q_scale.data());
    Rates r = alternate(
        threads_, slow ? 1 : 16,
        [&](int) {
          std::vector<float> scores(static_cast<std::size_t>(tiles * 16));
          const std::byte* page = keys.data();
          IndexArgs args{heads, dim,   codes.data(), q_scale.data(), weight.data(),
                         &page, tiles, tiles,        scores.data(),  nullptr};
          const int loops = slow ? 1 : 3;
          for (int j = 0; j < loops; ++j) set_->index_scores_packed(args);
          return 2.0 * heads * dim * 16.0 * static_cast<double>(tiles) * loops;
        },
        [&](int) { return measured_peak(set_->name, PeakKind::kInt8); });
    add("indexer", "GOP/s", r, 1e9);
  }

  // The 512 best of 262,144 scores (1 M tokens of context) against a plain read of the scores.
  void topk() {
    if (stopped_) return;
    constexpr std::int64_t n = 262144, k = 512;
    const auto scores = numbers(n, 8);
    std::vector<std::vector<std::int32_t>> scratch(lanes_.size(), std::vector<std::int32_t>(n));
    Rates r = alternate(
        threads_, 12,
        [&](int i) {
          std::vector<std::int32_t> out(k);
          for (int j = 0; j < 20; ++j)
            set_->top_k(scores.data(), n, k, out.data(), scratch[static_cast<std::size_t>(i)].data());
          return 4.0 * n * 20;
        },
        [&](int) {
          const double begin = thread_cpu_seconds();
          for (int j = 0; j < 20; ++j) read_once(scores.data(), 4 * n);
          return 4.0 * n * 20 / (thread_cpu_seconds() - begin);
        });
    add("topk", "GB/s", r, 1e9);
  }

  int threads_;
  const std::function<bool(const BenchRow&)>& each_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  const KernelTable* set_ = nullptr;
  bool stopped_ = false;
};

}  // namespace

std::vector<BenchRow> bench_kernels(int threads, const std::function<bool(const BenchRow&)>& each) {
  Bench bench(std::max(threads, 1), each);
  if (!bench.ready()) return {};
  const KernelTables sets = available_kernels();
  const bool chosen = std::getenv("HADAL_ISA") != nullptr;  // then that set only
  for (int i = 0; i < sets.count; ++i)
    if (!chosen || sets.list[i] == &kernels()) bench.run(*sets.list[i]);
  return std::move(bench.rows);
}

}  // namespace hadal
