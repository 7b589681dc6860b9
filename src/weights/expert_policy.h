// Which expert leaves memory when another one needs its place. A policy only orders keys; it cannot change results.
// tests/weights/expert_policy_test.cc replays recorded routing through all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace hadal {

// Keys are layer * experts + expert.
class ExpertPolicy {
 public:
  virtual ~ExpertPolicy() = default;
  virtual void advance(std::int64_t tokens) = 0;                 // a step of so many tokens begins
  virtual void used(std::int32_t key, std::int64_t tokens) = 0;  // so many of them were routed to this expert
  virtual double value(std::int32_t key) const = 0;              // the lowest of those in memory leaves first
};

// Least recently used. Layers take turns, so with less memory than one token's experts it keeps nothing of use: kept
// for comparison.
std::unique_ptr<ExpertPolicy> make_lru(std::int32_t keys);

// Least frequently used, where a use counts half after `half_life` tokens. Uses are remembered of experts that are not
// in memory too, so one that was popular an eviction ago comes back as popular.
std::unique_ptr<ExpertPolicy> make_decayed_lfu(std::int32_t keys, double half_life);

// The `pinned` most frequent keys of a recording stay; the others share what is left by recency.
std::unique_ptr<ExpertPolicy> make_pinned(std::span<const std::int64_t> frequency, std::int32_t pinned);

// What the expert store uses. Of LRU, the pinned set and half-lives from 16 to 16,384 tokens on the routing recorded in
// tests/golden/routing and on synthetic traces.
std::unique_ptr<ExpertPolicy> make_default_policy(std::int32_t keys);

}  // namespace hadal
