// The three engines behind one interface for comparisons: reference, exact and trained, under the regimes of the golden
// figures.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/sequence.h"
#include "model/reference_model.h"
#include "weights/checkpoint.h"

namespace hadal::test {

enum class EngineKind { kReference, kExact, kTrained };

// f32 rounds nothing, kvq rounds cache rows and index keys, full also the inputs of FP8 and FP4 products.
enum class Regime { kF32, kKvq, kFull };

inline std::string text(EngineKind kind) {
  return kind == EngineKind::kReference ? "reference" : kind == EngineKind::kExact ? "exact" : "trained";
}
inline std::string text(Regime regime) {
  return regime == Regime::kF32 ? "f32" : regime == Regime::kKvq ? "kvq" : "full";
}

struct FrequencyTables {
  std::vector<float> plain, compressed;  // empty: computed
};

// Logits [T][vocab] and MTP logits [T-1][vocab]; float32 values are exact as doubles.
struct Logits {
  std::vector<double> main, mtp;
};

inline bool same_bits(const Logits& a, const Logits& b) {
  auto same = [](const std::vector<double>& x, const std::vector<double>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
  };
  return same(a.main, b.main) && same(a.mtp, b.mtp);
}

class EngineUnderTest {
 public:
  EngineUnderTest(std::shared_ptr<const Checkpoint> checkpoint, EngineKind kind, Regime regime, int threads = 1,
                  FrequencyTables tables = {})
      : vocab_(static_cast<std::size_t>(checkpoint->config().vocab_size)), mtp_(checkpoint->has_mtp()) {
    if (kind == EngineKind::kReference)
      load_reference(*checkpoint, regime, threads, tables);
    else
      load_model(checkpoint, kind, regime, threads, tables);
  }

  // Feeds ids from an empty sequence in pieces of the given sizes, over and over; no sizes: all at once.
  Logits run(std::span<const TokenId> ids, const std::vector<std::int64_t>& pieces = {}) {
    Logits out;
    std::optional<Sequence> sequence;
    if (reference_) {
      reference_->reset();
    } else if (model_) {
      auto created = Sequence::create(model_, mtp_);
      if (!created) return complain(created.error()), out;
      sequence.emplace(std::move(*created));
    }
    bool first = true;
    for (std::size_t i = 0; !ids.empty() && (reference_ || model_); ++i) {
      const std::size_t wanted = pieces.empty() ? ids.size() : static_cast<std::size_t>(pieces[i % pieces.size()]);
      auto piece = ids.first(std::min(wanted, ids.size()));
      ids = ids.subspan(piece.size());
      if (!(reference_ ? feed(*reference_, piece, out) : feed(*sequence, piece, first, out))) break;
      first = false;
    }
    return out;
  }

  ReferenceModel& reference() { return *reference_; }

 private:
  void load_reference(const Checkpoint& checkpoint, Regime regime, int threads, const FrequencyTables& tables) {
    ReferenceOptions options{.round_cache = regime != Regime::kF32,
                             .round_inputs = regime == Regime::kFull,
                             .mtp = mtp_,
                             .threads = threads,
                             .plain_frequencies = tables.plain,
                             .compressed_frequencies = tables.compressed};
    auto loaded = ReferenceModel::load(checkpoint, options);
    if (!loaded) return complain(loaded.error());
    reference_ = std::move(*loaded);
  }

  void load_model(std::shared_ptr<const Checkpoint> checkpoint, EngineKind kind, Regime regime, int threads,
                  const FrequencyTables& tables) {
    ModelOptions options;
    options.numerics = {kind == EngineKind::kTrained, regime != Regime::kF32, regime == Regime::kFull};
    options.threads = threads;
    options.plain_frequencies = tables.plain;
    options.compressed_frequencies = tables.compressed;
    auto weights = load_weights(std::move(checkpoint));
    if (!weights) return complain(weights.error());
    auto model = Model::create(std::move(*weights), options);
    if (!model) return complain(model.error());
    model_ = *model;
  }

  static void complain(const Error& error) { ADD_FAILURE() << error.what; }

  bool feed(ReferenceModel& model, std::span<const TokenId> piece, Logits& out) {
    auto logits = model.feed(piece);
    if (!logits) return complain(logits.error()), false;
    out.main.insert(out.main.end(), logits->main.begin(), logits->main.end());
    out.mtp.insert(out.mtp.end(), logits->mtp.begin(), logits->mtp.end());
    return true;
  }

  bool feed(Sequence& sequence, std::span<const TokenId> piece, bool first, Logits& out) {
    std::vector<float> main(piece.size() * vocab_), mtp((piece.size() - (first ? 1 : 0)) * vocab_);
    FeedOutputs outputs;
    outputs.all_logits = main.data();
    outputs.mtp_logits = mtp_ ? mtp.data() : nullptr;
    outputs.advance_mtp = mtp_;
    auto fed = sequence.feed(piece, outputs);
    if (!fed) return complain(fed.error()), false;
    out.main.insert(out.main.end(), main.begin(), main.end());
    if (mtp_) out.mtp.insert(out.mtp.end(), mtp.begin(), mtp.end());
    return true;
  }

  std::size_t vocab_;
  bool mtp_;
  std::optional<ReferenceModel> reference_;
  std::shared_ptr<Model> model_;
};

// Largest difference of each row, and how often the largest logit is the same one.
struct RowDifferences {
  std::vector<double> largest;
  std::size_t same_argmax = 0;

  std::size_t rows() const { return largest.size(); }
  double max() const { return quantile(1); }
  double median() const { return quantile(0.5); }
  double quantile(double q) const {
    if (largest.empty()) return std::nan("");  // no comparison passes on nothing
    std::vector<double> sorted = largest;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(std::llround(q * static_cast<double>(sorted.size() - 1)))];
  }
  double agreement() const { return static_cast<double>(same_argmax) / static_cast<double>(rows()); }

  template <class A, class B>
  void add(const A* got, const B* want, std::size_t vocab) {
    double most = 0;
    for (std::size_t i = 0; i < vocab; ++i) {
      const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
      most = std::isnan(difference) ? HUGE_VAL : std::max(most, difference);
    }
    largest.push_back(most);
    same_argmax += std::max_element(got, got + vocab) - got == std::max_element(want, want + vocab) - want;
  }
  void add_all(const std::vector<double>& got, const std::vector<double>& want, std::size_t vocab) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i + vocab <= got.size(); i += vocab) add(got.data() + i, want.data() + i, vocab);
  }
};

}  // namespace hadal::test
