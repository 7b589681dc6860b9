#include "plan/layer_trial.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "base/clock.h"
#include "base/span.h"
#include "cache/page.h"
#include "layers/footprint.h"
#include "machine/probe.h"
#include "model/forward.h"
#include "plan/trial_weights.h"

namespace hadal {
namespace {

// Reused memory is out of a cache once some times its size has been read since.
constexpr std::int64_t kCachesOver = 4;
// A piece of a prompt is cut to this, its experts in proportion: products over more tokens are no faster per token.
constexpr std::int64_t kPieceTokens = 64;
// Tokens whose attention is timed at a depth, each the task of one thread: at least so many for every thread.
constexpr std::int64_t kProbeTokens = 16, kProbeTokensPerThread = 4;

double median(std::vector<double>& values) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

// The memory of one sequence at any depth: pages repeat once there are more than a cache could hold.
class TrialState {
 public:
  Status prepare(const ModelConfig& config, const RowFormat& format, std::int64_t deepest, std::int64_t cold_bytes) {
    layout_ = CacheLayout::make(config, format);
    const std::int64_t pages = layout_.pages_for(deepest);
    const std::int64_t distinct =
        std::clamp<std::int64_t>(ceil_div(cold_bytes, std::max<std::int64_t>(layout_.page_bytes, 1)), 1, pages);
    block_.resize(static_cast<std::size_t>(layout_.state_bytes / 64 + 2));
    std::byte* block = block_.front().bytes;
    // Pages as a session takes them, one by one: whether they lie on large pages of the system is part of their speed.
    for (std::int64_t p = 0; p < distinct && layout_.page_bytes > 0; ++p)
      own_.push_back(HADAL_TRY(PageRef::allocate(layout_.page_bytes)));
    fill(config, format, own_.empty() ? nullptr : own_.front().bytes(), block);
    for (std::size_t p = 1; p < own_.size(); ++p)
      std::memcpy(own_[p].bytes(), own_.front().bytes(), static_cast<std::size_t>(layout_.page_bytes));
    for (std::size_t p = 0; !own_.empty() && p < static_cast<std::size_t>(pages); ++p)
      pages_.push_back(own_[p % own_.size()].bytes());
    for (const CacheLayout::Layer& l : layout_.layers) {
      LayerState s;
      s.window = block + l.window_offset;
      s.tail = reinterpret_cast<float*>(block + l.tail_offset);
      s.index_tail = reinterpret_cast<float*>(block + l.index_tail_offset);
      s.rows = {pages_.data(), l.rows_offset, l.rows_per_page, layout_.row_bytes};
      s.keys = {pages_.data(), l.keys_offset, l.keys_per_page, layout_.key_bytes};
      state.layers.push_back(s);
    }
    return {};
  }
  std::int64_t bytes() const {
    return static_cast<std::int64_t>(own_.size()) * layout_.page_bytes + layout_.state_bytes;
  }
  SequenceState state;

 private:
  // Rows and keys of the right form: what selecting the best keys costs depends on their scores.
  void fill(const ModelConfig& config, const RowFormat& format, std::byte* page, std::byte* block) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    const KernelTable& k = kernels();
    const auto vector = [&](std::int64_t n) {
      std::vector<float> v(static_cast<std::size_t>(n));
      for (float& x : v) x = normal(random);
      return v;
    };
    for (const CacheLayout::Layer& l : layout_.layers) {
      for (std::int64_t i = 0; i < config.sliding_window; ++i)
        k.encode_row(format.shape, vector(config.head_dim).data(), block + l.window_offset + i * layout_.row_bytes);
      for (std::int64_t i = 0; i < l.rows_per_page; ++i)
        k.encode_row(format.shape, vector(config.head_dim).data(), page + l.rows_offset + i * layout_.row_bytes);
      for (std::int64_t i = 0; i < l.keys_per_page; ++i)
        k.encode_index_key(vector(config.index_head_dim).data(), format.index_dim,
                           page + l.keys_offset + i / kKeyTile * kKeyTile * layout_.key_bytes,
                           static_cast<int>(i % kKeyTile));
      const auto tail = vector(l.tail_floats), index_tail = vector(l.index_tail_floats);
      if (!tail.empty()) std::memcpy(block + l.tail_offset, tail.data(), tail.size() * sizeof(float));
      if (!index_tail.empty())
        std::memcpy(block + l.index_tail_offset, index_tail.data(), index_tail.size() * sizeof(float));
    }
  }

  struct alignas(64) Line {
    std::byte bytes[64];
  };
  CacheLayout layout_;
  std::vector<Line> block_;  // windows and tails
  std::vector<PageRef> own_;
  std::vector<std::byte*> pages_;
};

class Trial final : public LayerTrial {
 public:
  Trial(const ModelConfig& config, int threads, TrialWeights weights)
      : model_(config), trial_(std::move(weights)), pool_(threads), format_(row_format(trial_.config, {})) {
    tables_.plain = plain_frequencies(config);
    tables_.compressed = compressed_frequencies(config);
    for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) ++layers_of_[config.ratio(l)];
    const std::int64_t E = config.n_routed_experts, k = config.num_experts_per_tok;
    piece_ = preferred_step(config);
    // A piece this size leaves each expert with the tokens a full one would; two tokens' choices must differ.
    const std::int64_t fewest = ceil_div(piece_ * std::min(E, k + 2), E);
    piece_tokens_ = std::min(piece_, std::max(kPieceTokens, fewest));
    probe_tokens_ = std::max(kProbeTokens, kProbeTokensPerThread * std::int64_t{pool_.size()});
    decode_routes_ = routes(E);
    piece_routes_ = routes(std::clamp(ceil_div(E * piece_tokens_, piece_), k, E));
    logits_.resize(static_cast<std::size_t>(trial_.vocabulary));
  }

  Status prepare(std::int64_t deepest, std::int64_t cold_bytes) {
    const std::int64_t room = std::max(piece_tokens_, probe_tokens_) + 4096;  // steps behind the deepest context
    return state_.prepare(trial_.config, format_, deepest + room, cold_bytes);
  }

  std::int64_t bytes() const override { return trial_.arena.bytes() + state_.bytes(); }
  std::int64_t layer_count() const override { return static_cast<std::int64_t>(trial_.layers.size()); }

  double decode_seconds(std::int64_t depth, double seconds) override {
    use(decode_routes_);
    Passes passes;
    Stopwatch all;
    for (int round = 0; round < 4 || (all.seconds() < seconds && round < 4000); ++round) {
      Passes one;
      pass(depth + round, 1, one);
      read_out_once(one);
      if (round > 0) passes.add(one);  // the first takes scratch memory
    }
    return whole(passes) + passes.middle(passes.head) + extra_head(passes);
  }

  double prefill_seconds(std::int64_t depth, double seconds) override {
    if (piece_seconds_ == 0) {
      use(piece_routes_);
      Passes passes;
      Stopwatch all;
      for (int round = 0; round < 3 || (all.seconds() < seconds && round < 40); ++round) {
        Passes one;
        pass(0, piece_tokens_, one);
        if (round > 0) passes.add(one);
      }
      piece_seconds_ = whole(passes) / static_cast<double>(piece_tokens_);
      shallow_ = attention_seconds(0, seconds);
    }
    return piece_seconds_ + (depth == 0 ? 0 : std::max(0.0, attention_seconds(depth, seconds) - shallow_));
  }

 private:
  // Times of the parts of a pass, one value a round.
  struct Passes {
    std::vector<double> outside;              // embedding
    std::vector<std::vector<double>> layers;  // by trial layer
    std::vector<double> head, half_head;

    void add(const Passes& o) {
      const auto append = [](std::vector<double>& to, const std::vector<double>& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      append(outside, o.outside);
      append(head, o.head);
      append(half_head, o.half_head);
      layers.resize(o.layers.size());
      for (std::size_t i = 0; i < o.layers.size(); ++i) append(layers[i], o.layers[i]);
    }
    static double middle(std::vector<double> values) { return values.empty() ? 0 : median(values); }
  };

  Step step_at(std::int64_t start, std::int64_t count) {
    ids_.resize(static_cast<std::size_t>(count));
    for (TokenId& id : ids_)
      id = TokenId{static_cast<std::int32_t>(random_() % static_cast<std::uint32_t>(trial_.vocabulary))};
    workspace_.reset();
    state_.state.length = start;
    piece_of_step_ = {&state_.state, 0, count};
    return Step{trial_.config, kernels(), pool_, workspace_, {}, ids_};
  }

  void pass(std::int64_t start, std::int64_t count, Passes& out) {
    Stopwatch watch;
    const Step step = step_at(start, count);
    FlushDenormals flush;
    streams_ = workspace_.take<float>(count * trial_.config.hc_mult * trial_.config.hidden_size);
    if (!embed(step, trial_.weights, streams_)) return;  // reading rows can fail, and these are in memory
    out.outside.push_back(watch.seconds());
    out.layers.resize(trial_.layers.size());
    for (std::size_t i = 0; i < trial_.layers.size(); ++i) {
      Stopwatch one;
      // Only reading experts from disk can fail, and these are in memory.
      if (const Status ran = block(step, trial_.weights.layers[i], static_cast<std::int64_t>(i), tables_, format_,
                                   {&piece_of_step_, 1}, streams_);
          !ran)
        return;
      out.layers[i].push_back(one.seconds());
    }
  }

  // The streams of the pass before, through the head and through half of it.
  void read_out_once(Passes& out) {
    const Step step{trial_.config, kernels(), pool_, workspace_, {}, ids_};
    FlushDenormals flush;
    const ModelWeights& w = trial_.weights;
    Stopwatch watch;
    read_out(step, w.hc_head, w.norm, w.head, streams_, 1, logits_.data());
    out.head.push_back(watch.seconds());
    if (trial_.vocabulary == model_.vocab_size) return;
    PackedMatrix half = w.head;
    half.rows /= 2;
    watch = Stopwatch();
    read_out(step, w.hc_head, w.norm, half, streams_, 1, logits_.data());
    out.half_head.push_back(watch.seconds());
  }

  // Rows of the head that were left out cost what the second half of those timed did.
  double extra_head(const Passes& p) const {
    if (p.half_head.empty()) return 0;
    const double row = (p.middle(p.head) - p.middle(p.half_head)) / (static_cast<double>(trial_.vocabulary) / 2);
    return std::max(0.0, row) * static_cast<double>(model_.vocab_size - trial_.vocabulary);
  }

  // All layers of the model, each at what its kind took.
  double whole(const Passes& p) const {
    std::map<std::int64_t, std::pair<double, int>> by_ratio;
    for (std::size_t i = 0; i < p.layers.size(); ++i) {
      auto& [sum, n] = by_ratio[trial_.config.ratio(static_cast<std::int64_t>(i))];
      sum += p.middle(p.layers[i]);
      ++n;
    }
    double seconds = p.middle(p.outside);
    for (const auto& [ratio, sum] : by_ratio)
      seconds += sum.first / sum.second * static_cast<double>(layers_of_.at(ratio));
    return seconds;
  }

  // Attention alone of some tokens at a depth, a token of the whole model.
  double attention_seconds(std::int64_t depth, double seconds) {
    const std::int64_t count = probe_tokens_, d = trial_.config.hidden_size;
    std::map<std::int64_t, double> by_ratio;
    for (std::size_t i = 0; i < trial_.layers.size(); ++i) {
      const std::int64_t ratio = trial_.config.ratio(static_cast<std::int64_t>(i));
      if (by_ratio.contains(ratio)) continue;
      double quickest = 1e9;
      Stopwatch all;
      for (int round = 0; round < 2 || (all.seconds() < seconds / 3 && round < 100); ++round) {
        const Step step = step_at(depth, count);
        FlushDenormals flush;
        float* x = workspace_.take<float>(count * d);
        float* y = workspace_.take<float>(count * d);
        for (std::int64_t j = 0; j < count * d; ++j) x[j] = static_cast<float>(random_() >> 8) / (1 << 23) - 1;
        Stopwatch one;
        attention(step, trial_.weights.layers[i].attn, static_cast<std::int64_t>(i), tables_, format_,
                  {&piece_of_step_, 1}, x, y);
        // The quickest: the difference of two depths would carry the noise of both.
        quickest = std::min(quickest, one.seconds());
      }
      by_ratio[ratio] = quickest;
    }
    double sum = 0;
    for (const auto& [ratio, t] : by_ratio) sum += t * static_cast<double>(layers_of_.at(ratio));
    return sum / static_cast<double>(count);
  }

  // For every id k different experts among the first `experts`.
  std::vector<std::int32_t> routes(std::int64_t experts) {
    const std::int64_t k = model_.num_experts_per_tok;
    std::vector<std::int32_t> table, all(static_cast<std::size_t>(experts));
    for (std::int64_t e = 0; e < experts; ++e) all[static_cast<std::size_t>(e)] = static_cast<std::int32_t>(e);
    table.reserve(static_cast<std::size_t>(trial_.vocabulary * k));
    for (std::int64_t id = 0; id < trial_.vocabulary; ++id)
      for (std::int64_t j = 0; j < k; ++j) {
        const auto left = static_cast<std::uint32_t>(experts - j);
        std::swap(all[static_cast<std::size_t>(j)], all[static_cast<std::size_t>(j) + random_() % left]);
        table.push_back(all[static_cast<std::size_t>(j)]);
      }
    return table;
  }
  void use(const std::vector<std::int32_t>& table) {
    for (BlockWeights& w : trial_.weights.layers) w.ffn.tid2eid = table.data();
  }

  const ModelConfig model_;
  TrialWeights trial_;
  ThreadPool pool_;
  RowFormat format_;
  StepPiece piece_of_step_;  // the one sequence of every step
  RotaryTables tables_;
  TrialState state_;
  Workspace workspace_;
  std::mt19937 random_{1};
  std::map<std::int64_t, std::int64_t> layers_of_;  // of the model, by ratio
  std::int64_t piece_ = 0, piece_tokens_ = 0, probe_tokens_ = 0;
  std::vector<std::int32_t> decode_routes_, piece_routes_;
  std::vector<TokenId> ids_;
  std::vector<float> logits_;
  float* streams_ = nullptr;
  double piece_seconds_ = 0, shallow_ = 0;
};

}  // namespace

Result<std::unique_ptr<LayerTrial>> LayerTrial::create(const ModelConfig& config, const TensorTable& table,
                                                       const DTypeOf& dtype_of, int threads, std::int64_t deepest,
                                                       std::int64_t most_bytes) {
  const std::int64_t cold_bytes = kCachesOver * std::max<std::int64_t>(machine_info().l3_bytes, std::int64_t{16} << 20);
  TrialWeights weights = HADAL_TRY(make_trial_weights(config, table, dtype_of, cold_bytes, most_bytes - cold_bytes));
  auto trial = std::make_unique<Trial>(config, threads, std::move(weights));
  HADAL_CHECK_OK(trial->prepare(deepest, cold_bytes));
  return trial;
}

}  // namespace hadal
