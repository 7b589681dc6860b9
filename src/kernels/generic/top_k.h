// The k largest scores. Scores compare as the total order of IEEE 754 bits (-0 below +0), so every set agrees on ties.
//
// Nearly always one pass is enough: a sample guesses a threshold that keeps a little more than k scores, the pass
// collects those above it, and the exact choice is made among them. Where too many are equal to the guess, a second
// pass counts those above it. When the guess was wrong all the same, an exact radix selection over all scores follows:
// three histogram passes whatever the data looks like.
#pragma once

#include <cstdint>

namespace hadal::generic {

// Order-preserving: a > b as scores iff the keys compare so as unsigned.
template <class V>
std::uint32_t order_key(float x) {
  auto u = __builtin_bit_cast(std::uint32_t, x);
  return u ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(u) >> 31) | 0x80000000u);
}

template <class V>
struct Threshold {
  std::uint32_t key;  // the k-th largest
  std::int64_t ties;  // how many equal to it belong to the k largest
};

// The k-th largest of n keys, 1 <= k <= n, by 11, 11 and 10 bits. key_of(i) for i in [0, n).
template <class V, class KeyOf>
Threshold<V> radix_select(KeyOf key_of, std::int64_t n, std::int64_t k) {
  constexpr int kShift[3] = {21, 10, 0}, kBits[3] = {11, 11, 10};
  std::uint32_t prefix = 0, mask = 0;
  for (int pass = 0; pass < 3; ++pass) {
    std::uint32_t counts[2048] = {};
    const std::uint32_t last = (1u << kBits[pass]) - 1;
    for (std::int64_t i = 0; i < n; ++i) {
      std::uint32_t key = key_of(i);
      if ((key & mask) == prefix) ++counts[key >> kShift[pass] & last];
    }
    std::uint32_t bucket = last;
    while (counts[bucket] < k) k -= counts[bucket--];
    prefix |= bucket << kShift[pass];
    mask |= last << kShift[pass];
  }
  return {prefix, k};
}

// collect(scores, n, key, out, limit): indices with keys >= key, ascending, into out; their number, or -1 once it
// exceeds limit.
template <class V, class Collect>
void top_k(const float* scores, std::int64_t n, std::int64_t k, std::int32_t* out, std::int32_t* scratch,
           Collect collect) {
  if (k > n) k = n;
  if (k <= 0) return;
  constexpr std::int64_t kSample = 4096;  // 16 KiB of stack; small enough that its selection costs about 10 us
  std::int64_t candidates = -1;
  Threshold<V> equal{0, 0};  // set when the k-th largest is known to be the guess itself
  if (n >= 4 * kSample && k <= n / 32) {
    std::uint32_t sample[kSample];
    const std::int64_t stride = n / kSample;
    // Somewhere in each run of `stride`, so that scores with a period are sampled fairly.
    for (std::int64_t i = 0; i < kSample; ++i) {
      const std::uint32_t scattered = static_cast<std::uint32_t>(i) * 2654435761u >> 16;
      sample[i] = order_key<V>(scores[i * stride + scattered % stride]);
    }
    // Expected rank of the k-th largest in the sample, plus four deviations of a Poisson count: too low a guess is
    // cheap.
    float mean = static_cast<float>(k) * kSample / static_cast<float>(n);
    auto rank = static_cast<std::int64_t>(mean + 4 * __builtin_sqrtf(mean) + 4);
    auto guess = radix_select<V>([&](std::int64_t i) { return sample[i]; }, kSample, rank);
    candidates = collect(scores, n, guess.key, scratch, n / 4);
    if (candidates < 0 && guess.key != UINT32_MAX) {
      candidates = collect(scores, n, guess.key + 1, scratch, n / 4);
      if (candidates >= 0 && candidates < k) equal = {guess.key, k - candidates};
    }
  }
  auto emit = [&](auto index_of, std::int64_t count, Threshold<V> t) {
    for (std::int64_t i = 0, m = 0; i < count && m < k; ++i) {
      std::int32_t index = index_of(i);
      std::uint32_t key = order_key<V>(scores[index]);
      if (key > t.key || (key == t.key && t.ties-- > 0)) out[m++] = index;
    }
  };
  if (equal.ties > 0) {
    emit([](std::int64_t i) { return static_cast<std::int32_t>(i); }, n, equal);
  } else if (candidates >= k) {
    auto index_of = [&](std::int64_t i) { return scratch[i]; };
    emit(index_of, candidates,
         radix_select<V>([&](std::int64_t i) { return order_key<V>(scores[scratch[i]]); }, candidates, k));
  } else {
    emit([](std::int64_t i) { return static_cast<std::int32_t>(i); }, n,
         radix_select<V>([&](std::int64_t i) { return order_key<V>(scores[i]); }, n, k));
  }
}

template <class V>
std::int64_t collect_one_by_one(const float* scores, std::int64_t n, std::uint32_t key, std::int32_t* out,
                                std::int64_t limit) {
  std::int64_t m = 0;
  for (std::int64_t i = 0; i < n; ++i)
    if (order_key<V>(scores[i]) >= key) {
      if (m == limit) return -1;
      out[m++] = static_cast<std::int32_t>(i);
    }
  return m;
}

}  // namespace hadal::generic
