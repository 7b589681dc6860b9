#include "plan/bench_model.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/clock.h"
#include "base/span.h"
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

  // Restoring checks every byte; the limit is reading the file once from the page cache.
  Status restore_row(const Sequence& deep) {
    const std::string path = fmt::format("{}/hadal-bench-{}.sequence", options_.scratch_directory, ::getpid());
    Status done = deep.save(path);
    double rate = 0, limit = 0;
    if (done) {
      const auto bytes = static_cast<double>(deep.memory_bytes());
      const double plain = plain_read_seconds(path);
      limit = plain > 0 ? bytes / plain / 1e9 : 0;
      Stopwatch watch;
      auto back = Sequence::restore(model_, path);
      if (back)
        rate = bytes / watch.seconds() / 1e9;
      else
        done = std::unexpected(back.error());
    }
    ::unlink(path.c_str());
    HADAL_CHECK_OK(done);
    return give({"restore", deep.length(), rate, limit, "GB/s", deep.memory_bytes()});
  }

  static double plain_read_seconds(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    std::vector<char> buffer(std::size_t{4} << 20);
    Stopwatch watch;
    while (::read(fd, buffer.data(), buffer.size()) > 0) {
    }
    const double seconds = watch.seconds();
    ::close(fd);
    return seconds;
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
