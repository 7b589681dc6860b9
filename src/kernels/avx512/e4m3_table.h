// E4M3 to bfloat16 by two byte permutations.
#pragma once

#include <cstdint>

namespace hadal {
namespace {

// High and low byte of the bfloat16 of every positive E4M3 code; the sign bit is not part of a vpermi2b index.
struct E4m3Table {
  alignas(64) std::uint8_t high[128], low[128];
  constexpr E4m3Table() : high(), low() {
    for (int c = 0; c < 128; ++c) {
      int e = c >> 3, m = c & 7;
      if (e == 0 && m != 0) {  // a bfloat16 normal: shift the leading one out
        for (e = 1; (m & 8) == 0; --e) m *= 2;
        m &= 7;
      }
      unsigned h = c == 0 ? 0u : static_cast<unsigned>((e + 120) << 7 | m << 4);
      high[c] = static_cast<std::uint8_t>(h >> 8);
      low[c] = static_cast<std::uint8_t>(h & 255);
    }
  }
};
constexpr E4m3Table kE4m3;

}  // namespace
}  // namespace hadal
