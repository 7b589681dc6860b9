// Philox4x32-10, a counter-based generator: the numbers are a pure function of (key, counter), so no state is shared
// between requests and any draw can be repeated alone. Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers:
// as easy as 1, 2, 3", 2011.
#pragma once

#include <array>
#include <cstdint>

namespace hadal {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

constexpr PhiloxCounter philox4x32(PhiloxCounter c, PhiloxKey k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * c[0];  // multipliers and key steps are the published constants
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(a)};
    k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
  }
  return c;
}

// What one random number belongs to. Two draws with equal fields are the same number, whatever else runs.
struct Draw {
  std::uint64_t seed = 0;      // of the request
  std::uint64_t position = 0;  // absolute position of the token being sampled
  std::uint64_t stream = 0;    // sample index of the request (n > 1), so that siblings differ
};

// A double in [0, 1) with 53 random bits.
constexpr double uniform(const Draw& draw) {
  const PhiloxCounter words =
      philox4x32({static_cast<std::uint32_t>(draw.position), static_cast<std::uint32_t>(draw.position >> 32),
                  static_cast<std::uint32_t>(draw.stream), static_cast<std::uint32_t>(draw.stream >> 32)},
                 {static_cast<std::uint32_t>(draw.seed), static_cast<std::uint32_t>(draw.seed >> 32)});
  const std::uint64_t bits = (std::uint64_t{words[1]} << 32 | words[0]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace hadal
