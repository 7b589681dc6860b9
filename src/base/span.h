// Views over bytes and numbers. A view does not own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hadal {

using Bytes = std::span<const std::byte>;

// Offset of the next multiple of `step`; step need not be a power of two.
constexpr std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }
constexpr std::int64_t ceil_div(std::int64_t n, std::int64_t step) { return (n + step - 1) / step; }

}  // namespace hadal
