// Strong integer types: a token id is not a position, a position is not a row.
#pragma once

#include <cstdint>

namespace hadal {

enum class TokenId : std::int32_t {};  // index into the vocabulary

constexpr std::int32_t to_int(TokenId id) { return static_cast<std::int32_t>(id); }

using Position = std::int64_t;  // absolute position of a token in its sequence; the first is 0

}  // namespace hadal
