#include "plan/bench_model.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "base/clock.h"
#include "cache/sequence.h"

namespace hadal {
namespace {

std::vector<TokenId> random_tokens(const ModelConfig& config, std::int64_t count) {
  std::mt19937 random(1);  // the same prompt for everybody
  std::vector<TokenId> ids(static_cast<std::size_t>(count));
  for (TokenId& id : ids)
    id = TokenId{static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(config.vocab_size))};
  return ids;
}

class Bench {
 public:
  Bench(std::shared_ptr<const Checkpoint> checkpoint, const ModelBenchOptions& options)
      : checkpoint_(std::move(checkpoint)), options_(options), machine_(measure_machine()) {}

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
    ModelWeights weights = HADAL_TRY(load_weights(checkpoint_));
    resident_ = weights.resident_bytes;
    ModelOptions options;
    options.threads = options_.threads;
    model_ = HADAL_TRY(Model::create(std::move(weights), options));
    return {};
  }

  // Bytes of packed weights made per second; the limit is reading and writing as many.
  Status load_row() {
    Stopwatch watch;
    HADAL_CHECK_OK(load());
    const double seconds = watch.seconds();
    return give(
        {"load", 0, static_cast<double>(resident_) / seconds / 1e9, machine_.read_bytes_per_second / 2e9, "GB/s", 0});
  }

  Result<Sequence> at_depth(std::int64_t depth) {
    Sequence s = HADAL_TRY(Sequence::create(model_));
    const std::int64_t page = std::max<std::int64_t>(s.layout().page_tokens, 128);
    const std::vector<TokenId> ids = random_tokens(model_->config(), page);
    const auto piece = static_cast<std::size_t>(model_->preferred_step());
    for (std::size_t at = 0; at < ids.size(); at += piece)
      HADAL_CHECK_OK(s.feed(std::span(ids).subspan(at, std::min(piece, ids.size() - at))));
    // A page stays free at the model's last position, for the steps that are measured there.
    const std::int64_t most = model_->config().max_position_embeddings / page * page - page;
    HADAL_CHECK_OK(s.stretch(std::clamp(depth / page * page, page, std::max(page, most))));
    return s;
  }

  // Median of single steps, so that a neighbour's burst does not count.
  Status decode_row(const Sequence& deep, const ModelPlan& plan) {
    Sequence s = HADAL_TRY(deep.fork());
    std::vector<float> logits(static_cast<std::size_t>(model_->config().vocab_size));
    FeedOutputs outputs;
    outputs.last_logits = logits.data();
    std::vector<double> steps;
    const std::vector<TokenId> ids = random_tokens(model_->config(), 4096);
    Stopwatch all;
    for (std::size_t i = 0; i < ids.size() && (steps.size() < 3 || all.seconds() < options_.seconds); ++i) {
      Stopwatch one;
      HADAL_CHECK_OK(s.feed(std::span(ids).subspan(i, 1), outputs));
      if (i > 0) steps.push_back(one.seconds());  // the first one copies the page it appends to
    }
    std::nth_element(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2), steps.end());
    const double rate = 1 / steps[steps.size() / 2];
    return give({"decode", s.length(), rate, fit(plan, machine_).decode_limit(), "tokens/s", s.memory_bytes()});
  }

  Status prefill_row(const Sequence& deep, const ModelPlan& plan) {
    Sequence s = HADAL_TRY(deep.fork());
    const std::int64_t piece = model_->preferred_step();
    const std::vector<TokenId> ids = random_tokens(model_->config(), piece);
    double best = 0;
    Stopwatch all;
    do {
      if (s.length() + piece > model_->config().max_position_embeddings) s = HADAL_TRY(deep.fork());
      if (s.length() + piece > model_->config().max_position_embeddings) return {};  // no room for a step at this depth
      Stopwatch one;
      HADAL_CHECK_OK(s.feed(ids));
      best = std::max(best, static_cast<double>(piece) / one.seconds());
    } while (all.seconds() < options_.seconds);
    return give(
        {"prefill", deep.length(), best, fit(plan, machine_).arithmetic_limit, "tokens/s", deep.memory_bytes()});
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
  MachineLimits machine_;
  std::shared_ptr<Model> model_;
  std::int64_t resident_ = 0;
};

}  // namespace

Status bench_model(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelBenchOptions& options) {
  return Bench(checkpoint, options).run();
}

}  // namespace hadal
