// Kept prefixes of a session with the cache of Flash (43 layers, head size 512; the weights are tiny: nothing here
// computes): what a fork, a keep and a hit cost, and how fast a hit comes back from disk, beside what the machine does.
//   HADAL_BENCH_DIR     folder for the files; the system's temporary folder without it
//   HADAL_BENCH_TOKENS  length of the session, 102400 without it
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/clock.h"
#include "cache/prefix_store.h"
#include "plan/published.h"
#include "weights/checkpoint.h"
#include "weights/random_weights.h"

namespace {

namespace fs = std::filesystem;
using namespace hadal;

template <class T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "{}\n", result.error().what);
  std::exit(1);
}
void must(Status status) {
  if (status) return;
  fmt::print(stderr, "{}\n", status.error().what);
  std::exit(1);
}

template <class Work>
double best_seconds(int times, Work&& work) {
  double best = 1e9;
  for (int i = 0; i < times; ++i) {
    Stopwatch watch;
    work();
    best = std::min(best, watch.seconds());
  }
  return best;
}

std::shared_ptr<Model> flash_shaped(const std::string& folder) {
  ModelConfig c = flash_config();
  c.hidden_size = 256;
  c.num_attention_heads = 8;
  c.q_lora_rank = 128;
  c.o_lora_rank = 128;
  c.o_groups = 4;
  c.index_n_heads = 4;
  c.n_routed_experts = 8;
  c.num_experts_per_tok = 2;
  c.moe_intermediate_size = 128;
  c.vocab_size = 1024;
  RandomCheckpointOptions random;
  random.with_mtp = true;
  must(write_random_checkpoint(c, folder, random));
  auto checkpoint = must(Checkpoint::open(folder));
  return must(Model::create(must(load_weights(checkpoint)), {}));
}

// Memory as a restore needs it, page by page and new, filled with a copy by as many threads: what no restore can beat.
double plain_fill_seconds(const std::vector<fs::path>& files, int threads) {
  std::vector<std::byte> from(std::size_t{8} << 20, std::byte{1});
  std::vector<PageRef> pages(files.size());
  Stopwatch watch;
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i; (i = next.fetch_add(1)) < files.size();) {
      const auto bytes = std::min<std::uintmax_t>(fs::file_size(files[i]), from.size());
      pages[i] = must(PageRef::allocate(static_cast<std::int64_t>(bytes), false));
      std::memcpy(pages[i].bytes(), from.data(), bytes);
    }
  };
  std::vector<std::jthread> all;
  for (int t = 1; t < threads; ++t) all.emplace_back(work);
  work();
  all.clear();
  return watch.seconds();
}

// The same files with plain reads by as many threads, into memory that is there already.
double plain_read_seconds(const std::vector<fs::path>& files, int threads) {
  constexpr std::size_t room = std::size_t{8} << 20;
  std::vector<std::byte> buffer(room * static_cast<std::size_t>(threads), std::byte{1});
  Stopwatch watch;
  std::atomic<std::size_t> next{0};
  const auto work = [&](int t) {
    std::byte* to = buffer.data() + static_cast<std::size_t>(t) * room;
    for (std::size_t i; (i = next.fetch_add(1)) < files.size();) {
      const int fd = ::open(files[i].c_str(), O_RDONLY | O_CLOEXEC);
      while (::read(fd, to, room) > 0) {
      }
      ::close(fd);
    }
  };
  std::vector<std::jthread> all;
  for (int t = 1; t < threads; ++t) all.emplace_back(work, t);
  work(0);
  all.clear();
  return watch.seconds();
}

void forget(const std::vector<fs::path>& files) {
  for (const fs::path& path : files) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    ::fsync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

void run(const std::string& base) {
  const char* wanted = std::getenv("HADAL_BENCH_TOKENS");
  const auto model = flash_shaped(base + "/model");
  Sequence session = must(Sequence::create(model));
  const CacheLayout layout = session.layout();
  const std::int64_t unit = layout.page_tokens;
  const std::int64_t tokens = (wanted ? std::atoll(wanted) : 102400) / unit * unit;
  std::vector<TokenId> ids(static_cast<std::size_t>(unit));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = TokenId{static_cast<int>(i * 7 % 1024)};
  must(session.feed(ids));
  must(session.stretch(tokens));
  must(session.feed(std::span(ids).first(77)));
  std::vector<TokenId> prompt(session.tokens().begin(), session.tokens().end());
  prompt.push_back(TokenId{1});
  fmt::print("{} tokens: {} pages of {:.2f} MB, state block {:.2f} MB\n", session.length(),
             layout.pages_for(session.length()), static_cast<double>(layout.page_bytes) / 1e6,
             static_cast<double>(layout.state_bytes) / 1e6);

  const auto milliseconds = [](const char* name, double seconds) {
    fmt::print("{:<34} {:>9.3f} ms\n", name, seconds * 1e3);
  };
  std::vector<std::byte> from(static_cast<std::size_t>(layout.state_bytes), std::byte{1}), to(from.size());
  milliseconds("copy a state block", best_seconds(9, [&] { std::memcpy(to.data(), from.data(), from.size()); }));
  milliseconds("fork", best_seconds(9, [&] { (void)must(session.fork()).length(); }));

  PrefixStoreOptions options{.memory_bytes = std::int64_t{4} << 30,
                             .folder = base + "/pages",
                             .disk_bytes = std::int64_t{64} << 30,
                             .queue_bytes = std::int64_t{4} << 30,
                             .read_threads = std::max(2, static_cast<int>(std::thread::hardware_concurrency()))};
  {
    auto store = must(PrefixStore::open(model, options));
    Stopwatch watch;
    must(store->keep(session));
    milliseconds("keep", watch.seconds());
    store->flush();
    fmt::print("{:<34} {:>9.2f} GB/s\n", "written behind it, synced",
               static_cast<double>(store->stats().written_bytes) / watch.seconds() / 1e9);
    milliseconds("hit in memory", best_seconds(9, [&] {
                   if (must(store->lookup(prompt)).reused + 1 != static_cast<Position>(prompt.size())) std::exit(1);
                 }));
  }
  std::vector<fs::path> files;
  double bytes = 0;
  for (const auto& entry : fs::directory_iterator(options.folder))
    if (entry.path().filename() != "lock") {
      files.push_back(entry.path());
      bytes += static_cast<double>(fs::file_size(entry.path()));
    }
  for (const bool cold : {false, true}) {
    for (int round = 0; round < 3; ++round) {
      if (cold) forget(files);
      const double plain = plain_read_seconds(files, options.read_threads),
                   fill = plain_fill_seconds(files, options.read_threads);
      auto store = must(PrefixStore::open(model, options));
      if (cold) forget(files);
      Stopwatch watch;
      const PrefixHit hit = must(store->lookup(prompt));
      const double taken = watch.seconds();
      if (hit.reused + 1 != static_cast<Position>(prompt.size())) std::exit(1);
      fmt::print(
          "restore from {:<10} {:>8.1f} ms {:>6.2f} GB/s; filling new memory {:>6.2f}, reading {:>6.2f} GB/s; share "
          "{:.2f}\n",
          cold ? "disk" : "page cache", taken * 1e3, bytes / taken / 1e9, bytes / fill / 1e9, bytes / plain / 1e9,
          std::max(fill, plain) / taken);
    }
  }
}

}  // namespace

int main() {
  const char* folder = std::getenv("HADAL_BENCH_DIR");
  const std::string base =
      (folder ? fs::path(folder) : fs::temp_directory_path()) / fmt::format("hadal_prefix_bench_{}", ::getpid());
  fs::create_directories(base);
  run(base);
  fs::remove_all(base);
}
