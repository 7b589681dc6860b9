#include "plan/bench_model.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <numeric>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/span.h"
#include "cache/prefix_store.h"
#include "cache/sequence.h"
#include "cache/working_memory.h"
#include "kernels/kernels.h"
#include "machine/meter.h"

namespace hadal {
namespace {

// A decode step's depth grows while it is measured; starting over after so many keeps it at the depth asked for.
constexpr std::int64_t kStepsPerFork = 256;
// Turns of work and yardstick within a row: many enough that both see the same weather, few enough that the yardstick
// takes the smaller part of the time.
constexpr int kTurns = 8;

std::vector<TokenId> random_tokens(const ModelConfig& config, std::int64_t count, unsigned seed = 1) {
  std::mt19937 random(seed);  // the same for everybody
  std::vector<TokenId> ids(static_cast<std::size_t>(count));
  for (TokenId& id : ids)
    id = TokenId{static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(config.vocab_size))};
  return ids;
}

class Bench {
 public:
  Bench(std::shared_ptr<const Checkpoint> checkpoint, const ModelBenchOptions& options)
      : checkpoint_(std::move(checkpoint)), options_(options), meter_(std::max(options.threads, 1), kernels().name) {}

  Status run() {
    if (options_.load) HADAL_CHECK_OK(load_row());
    if (!model_) HADAL_CHECK_OK(load());
    for (std::int64_t depth : options_.depths) {
      const ModelPlan plan = HADAL_TRY(plan_checkpoint("", *checkpoint_, std::max<std::int64_t>(depth, 1)));
      Sequence deep = HADAL_TRY(at_depth(depth));
      if (options_.decode) HADAL_CHECK_OK(decode_row(deep, plan));
      if (options_.prefill) HADAL_CHECK_OK(prefill_row(deep, plan));
      if (options_.restore) HADAL_CHECK_OK(restore_row(deep));
      if (options_.sessions) HADAL_CHECK_OK(session_rows(deep));
    }
    return {};
  }

 private:
  Status load() {
    ModelOptions options;
    options.threads = options_.threads;
    std::int64_t deepest = 8192;
    for (const std::int64_t depth : options_.depths) deepest = std::max(deepest, depth);
    ModelWeights weights = HADAL_TRY(
        load_weights(checkpoint_, place_experts(checkpoint_->config(), options, deepest, options_.expert_memory),
                     options_.repack_cache));
    resident_ = weights.resident_bytes;
    model_ = HADAL_TRY(Model::create(std::move(weights), options));
    return {};
  }

  // Bytes of packed weights made per second; the limit is reading and writing as many.
  Status load_row() {
    Stopwatch watch;
    HADAL_CHECK_OK(load());
    const double seconds = watch.seconds();
    meter_.round();
    const double limit = meter_.median().read_bytes_per_second / 2e9;
    return give({"load", 0, static_cast<double>(resident_) / seconds / 1e9, limit, "GB/s", 0});
  }

  Result<Sequence> at_depth(std::int64_t depth) {
    Sequence s = HADAL_TRY(Sequence::create(model_));
    const std::int64_t page = std::max<std::int64_t>(s.layout().page_tokens, 128);
    const std::vector<TokenId> ids = random_tokens(model_->config(), page);
    const auto piece = static_cast<std::size_t>(model_->preferred_step());
    for (std::size_t at = 0; at < ids.size(); at += piece)
      HADAL_CHECK_OK(s.feed(std::span(ids).subspan(at, std::min(piece, ids.size() - at))));
    // Steps of either kind must still fit behind it.
    const std::int64_t room = round_up(std::max<std::int64_t>(model_->preferred_step(), kStepsPerFork), page);
    const std::int64_t most = (model_->config().max_position_embeddings - room) / page * page;
    HADAL_CHECK_OK(s.stretch(std::max(page, std::min(depth / page * page, most))));
    return s;
  }

  // What the threads that were used reach, in the seconds of the row it stands beside.
  Fit limits(const ModelPlan& plan, const MachineMeter& meter) const {
    const MachineRates rates = meter.median();
    MachineLimits machine;
    machine.read_bytes_per_second = rates.read_bytes_per_second;
    machine.bf16_ops_per_second = rates.bf16_ops_per_second;
    machine.int8_ops_per_second = rates.int8_ops_per_second;
    return fit(plan, machine);
  }

  // Median of single steps, so that a neighbour's burst does not count. Work and yardstick take turns; the first step
  // of a turn warms what the yardstick evicted, and the first of a fork copies the page it appends to: neither counts.
  Status decode_row(const Sequence& deep, const ModelPlan& plan) {
    std::vector<float> logits(static_cast<std::size_t>(model_->config().vocab_size));
    FeedOutputs outputs;
    outputs.last_logits = logits.data();
    std::vector<double> steps;
    const ExpertStats before = expert_stats();
    clear_yardsticks();
    Stopwatch all;
    for (unsigned seed = 2; steps.size() < 3 || all.seconds() < options_.seconds; ++seed) {
      const std::vector<TokenId> ids = random_tokens(model_->config(), kStepsPerFork, seed);  // others: other experts
      meter_.round();
      HADAL_CHECK_OK(time_disk(seed));
      Sequence s = HADAL_TRY(deep.fork());
      Stopwatch turn;
      for (std::size_t i = 0; i < ids.size() && (i < 2 || turn.seconds() < options_.seconds / kTurns); ++i) {
        Stopwatch one;
        HADAL_CHECK_OK(s.feed(std::span(ids).subspan(i, 1), outputs));
        if (i > 0 || streams()) steps.push_back(one.seconds());
      }
    }
    // With reads from disk between the steps the mean counts: they come in bursts.
    const double seconds = streams()
                               ? std::accumulate(steps.begin(), steps.end(), 0.0) / static_cast<double>(steps.size())
                               : middle(steps);
    return give_steps(
        {"decode", deep.length(), 1 / seconds, limits(plan, meter_).decode_limit(), "tokens/s", deep.memory_bytes()},
        steps, before);
  }

  Status prefill_row(const Sequence& deep, const ModelPlan& plan) {
    const std::int64_t piece = model_->preferred_step();
    const std::vector<TokenId> ids = random_tokens(model_->config(), piece);
    std::vector<double> steps;
    const ExpertStats before = expert_stats();
    clear_yardsticks();
    Stopwatch all;
    do {
      meter_.round();
      HADAL_CHECK_OK(time_disk(steps.size() + 1));
      Sequence s = HADAL_TRY(deep.fork());
      Stopwatch one;
      HADAL_CHECK_OK(s.feed(ids));
      steps.push_back(one.seconds());
    } while (all.seconds() < options_.seconds);
    return give_steps({"prefill", deep.length(), static_cast<double>(piece) / middle(steps),
                       limits(plan, meter_).arithmetic_limit, "tokens/s", deep.memory_bytes()},
                      steps, before);
  }

  void clear_yardsticks() {
    meter_.clear();
    disk_bytes_ = 0;
    disk_seconds_ = 0;
  }

  // The disk's part of the yardstick, read by the store itself; nothing to do with every expert in memory.
  Status time_disk(std::uint64_t seed) {
    if (!streams()) return {};
    constexpr double kSeconds = 0.4;  // some 200 reads of 4 MiB from a disk of 2 GB/s
    const auto t = HADAL_TRY(model_->weights().expert_store()->time_reads(kSeconds, seed));
    disk_bytes_ += t.bytes;
    disk_seconds_ += t.seconds;
    return {};
  }

  bool streams() const { return model_->expert_stats() != nullptr; }
  ExpertStats expert_stats() const { return streams() ? *model_->expert_stats() : ExpertStats{}; }

  Status give_steps(ModelBenchRow row, const std::vector<double>& steps, const ExpertStats& before) {
    row.steps = static_cast<std::int64_t>(steps.size());
    if (streams()) {
      row.experts = expert_stats().since(before);
      row.step_seconds = std::accumulate(steps.begin(), steps.end(), 0.0);
      row.disk_bytes_per_second = disk_seconds_ > 0 ? static_cast<double>(disk_bytes_) / disk_seconds_ : 0;
    }
    return give(row);
  }

  static double middle(std::vector<double>& values) {
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), at, values.end());
    return *at;
  }

  // A kept prefix found on disk by a process that knows nothing yet, as after a restart: every byte is read, checked
  // and put in place. The limit is reading the same files, with as many threads, and nothing else. Both come from the
  // disk.
  Status restore_row(const Sequence& deep) {
    const std::string folder = fmt::format("{}/hadal-bench-{}", options_.scratch_directory, ::getpid());
    const auto measured = [&]() -> Result<ModelBenchRow> {
      PrefixStoreOptions store;
      store.memory_bytes = std::int64_t{1} << 20;  // what is looked up comes from the files
      store.folder = folder;
      store.disk_bytes = std::int64_t{1} << 42;
      store.queue_bytes = std::int64_t{1} << 40;
      {
        const auto keeping = HADAL_TRY(PrefixStore::open(model_, store));
        HADAL_CHECK_OK(keeping->keep(deep));
        keeping->flush();
      }
      std::vector<TokenId> ids(deep.tokens().begin(), deep.tokens().end());
      ids.push_back(ids[0]);
      std::vector<double> rates, limits;
      for (int turn = 0; turn < 5; ++turn) {
        const double bytes = forget_files(folder);
        limits.push_back(bytes / read_files(folder, store.read_threads));
        forget_files(folder);
        const auto again = HADAL_TRY(PrefixStore::open(model_, store));
        Stopwatch watch;
        const PrefixHit hit = HADAL_TRY(again->lookup(ids));
        if (hit.reused != deep.length())
          return fail(ErrorCode::kInternal, "{} tokens were kept and {} found", deep.length(), hit.reused);
        rates.push_back(bytes / watch.seconds());
      }
      return ModelBenchRow{"restore", deep.length(),      middle(rates) / 1e9, middle(limits) / 1e9,
                           "GB/s",    deep.memory_bytes()};
    }();
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    if (!measured) return std::unexpected(measured.error());
    return give(*measured);
  }

  static std::vector<std::string> files_in(const std::string& folder) {
    std::vector<std::string> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder, error))
      if (entry.is_regular_file(error)) files.push_back(entry.path());
    return files;
  }

  // Out of the page cache; how many bytes they have.
  static double forget_files(const std::string& folder) {
    double bytes = 0;
    for (const std::string& path : files_in(folder)) {
      const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (fd < 0) continue;
      ::fsync(fd);  // what is not written yet stays
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      bytes += static_cast<double>(::lseek(fd, 0, SEEK_END));
      ::close(fd);
    }
    return bytes;
  }

  static double read_files(const std::string& folder, int threads) {
    const std::vector<std::string> files = files_in(folder);
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
      std::vector<char> buffer(std::size_t{4} << 20);
      for (std::size_t i; (i = next++) < files.size();) {
        const int fd = ::open(files[i].c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        while (::read(fd, buffer.data(), buffer.size()) > 0) {
        }
        ::close(fd);
      }
    };
    Stopwatch watch;
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t) pool.emplace_back(work);
    for (std::thread& t : pool) t.join();
    return watch.seconds();
  }

  // What a user of sessions waits for: a fork; the first token after a prompt that was read before; and sixteen
  // answers at a time.
  Status session_rows(const Sequence& deep) {
    const auto vocabulary = static_cast<std::size_t>(model_->config().vocab_size);
    std::vector<float> logits(16 * vocabulary);
    FeedOutputs outputs;
    outputs.last_logits = logits.data();
    PrefixStoreOptions in_memory;
    in_memory.memory_bytes = std::int64_t{1} << 40;
    const auto store = HADAL_TRY(PrefixStore::open(model_, in_memory));
    HADAL_CHECK_OK(store->keep(deep));
    std::vector<TokenId> prompt(deep.tokens().begin(), deep.tokens().end());
    prompt.push_back(prompt[0]);
    std::vector<Sequence> sixteen;
    for (int i = 0; i < 16; ++i) sixteen.push_back(HADAL_TRY(deep.fork()));
    std::vector<double> fork, warm, one, together;
    meter_.clear();
    Stopwatch all;
    for (unsigned seed = 2; one.size() < 5 || all.seconds() < options_.seconds; ++seed) {
      const std::vector<TokenId> ids = random_tokens(model_->config(), 32, seed);  // others: other experts
      meter_.round();
      for (int i = 0; i < 4; ++i) {  // the first warms what the yardstick evicted
        Stopwatch watch;
        Sequence s = HADAL_TRY(deep.fork());
        if (i > 0) fork.push_back(watch.seconds());
        HADAL_CHECK_OK(s.feed(std::span(ids).subspan(0, 1), outputs));  // copies the page it writes to
        watch = Stopwatch();
        HADAL_CHECK_OK(s.feed(std::span(ids).subspan(static_cast<std::size_t>(i) + 1, 1), outputs));
        if (i > 0) one.push_back(watch.seconds());
        watch = Stopwatch();
        PrefixHit hit = HADAL_TRY(store->lookup(prompt));
        HADAL_CHECK_OK(
            hit.sequence.feed(std::span(prompt).last(prompt.size() - static_cast<std::size_t>(hit.reused)), outputs));
        if (i > 0) warm.push_back(watch.seconds());
      }
      std::vector<Sequence::Part> parts;
      for (std::size_t i = 0; i < sixteen.size(); ++i)
        parts.push_back({&sixteen[i], std::span(ids).subspan(i, 1), logits.data() + i * vocabulary});
      for (int i = 0; i < 2; ++i) {
        Stopwatch watch;
        HADAL_CHECK_OK(Sequence::feed_together(parts));
        if (i > 0) together.push_back(watch.seconds());
      }
      for (Sequence& s : sixteen)
        if (s.length() > deep.length() + kStepsPerFork) s = HADAL_TRY(deep.fork());
    }
    const double step = middle(one);
    // A fork copies the state block: it is read once and written once.
    const double copies = meter_.median().read_bytes_per_second / 2 / static_cast<double>(deep.layout().state_bytes);
    HADAL_CHECK_OK(give({"fork", deep.length(), 1 / middle(fork), copies, "forks/s", deep.memory_bytes()}));
    HADAL_CHECK_OK(give({"warm", deep.length(), 1 / middle(warm), 1 / step, "firsts/s", deep.memory_bytes()}));
    return give({"decode_16", deep.length(), 16 / middle(together), 16 / step, "tokens/s", deep.memory_bytes()});
  }

  Status give(const ModelBenchRow& row) {
    if (!options_.row || options_.row(row)) return {};
    return fail(ErrorCode::kCancelled, "stopped before everything was measured");
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  const ModelBenchOptions& options_;
  MachineMeter meter_;
  std::shared_ptr<Model> model_;
  std::int64_t resident_ = 0;
  std::int64_t disk_bytes_ = 0;  // of the row's yardstick
  double disk_seconds_ = 0;
};

}  // namespace

Status bench_model(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelBenchOptions& options) {
  return Bench(checkpoint, options).run();
}

}  // namespace hadal
