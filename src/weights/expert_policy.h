// Which expert leaves memory when another one needs its place. A policy only orders experts; it cannot change results.
// tests/weights/expert_policy_test.cc replays recorded routing through all of them.
//
// Layers take turns, so time is counted for each layer by itself: an expert has missed a chance to be used only when
// its own layer was asked again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace hadal {

struct ExpertWant {
  std::int32_t expert = 0;
  std::int64_t tokens = 1;  // of the step that are routed to it
};

// Keys are layer * experts + expert.
class ExpertPolicy {
 public:
  virtual ~ExpertPolicy() = default;
  // What a layer asks for in a step of so many tokens.
  virtual void asked(std::int32_t layer, std::int64_t tokens, std::span<const ExpertWant> wants) = 0;
  virtual double value(std::int32_t key) const = 0;  // the lowest of those in memory leaves first
};

struct ExpertCounts {
  std::int32_t layers = 0, experts = 0;
  std::int32_t keys() const { return layers * experts; }
  std::size_t index(std::int32_t layer, std::int32_t expert) const {  // of a key, into one entry for each
    return static_cast<std::size_t>(layer) * static_cast<std::size_t>(experts) + static_cast<std::size_t>(expert);
  }
};

// Least recently used. With less memory than one token's experts it keeps nothing of use: each leaves before its layer
// comes round again.
std::unique_ptr<ExpertPolicy> make_lru(ExpertCounts counts);

// Least frequently used, where a use counts half after `half_life` tokens. Uses are remembered of experts that are not
// in memory too, so one that was popular an eviction ago comes back as popular.
std::unique_ptr<ExpertPolicy> make_decayed_lfu(ExpertCounts counts, double half_life);

// The `pinned` most frequent keys of a recording stay; the others share what is left by recency.
std::unique_ptr<ExpertPolicy> make_pinned(ExpertCounts counts, std::span<const std::int64_t> frequency,
                                          std::int32_t pinned);

// The chance that the layer's next token uses the expert: decayed frequency, and for the experts of its last token the
// share of tokens that repeat one, as far as frequency does not explain it. Both are learned while running. Neither
// alone does: text with strong repetition (the embedded model) wants recency, spread routing wants frequency.
std::unique_ptr<ExpertPolicy> make_likely_next(ExpertCounts counts);

}  // namespace hadal
