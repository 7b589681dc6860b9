// Which bytes of a state block, or of a partly filled page, matter at a given length. Most of a Flash state block are
// the open windows of its HCA layers, of which half are empty on average; images leave the empty slots out.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "base/span.h"
#include "cache/page.h"

namespace hadal {

// The state block after `length` tokens: windows, live tail slots, last streams.
std::int64_t state_image_bytes(const CacheLayout& layout, Position length);
void pack_state(const CacheLayout& layout, Position length, const std::byte* block, std::byte* image);
// `block` has layout.state_bytes; what no image holds is left as it is. kBadInput when the size is wrong.
Status unpack_state(const CacheLayout& layout, Position length, Bytes image, std::byte* block);

// The rows and whole key tiles of a page's first `tokens` tokens (at most page_tokens).
std::int64_t row_image_bytes(const CacheLayout& layout, Position tokens);
void pack_rows(const CacheLayout& layout, Position tokens, const std::byte* page, std::byte* image);
Status unpack_rows(const CacheLayout& layout, Position tokens, Bytes image, std::byte* page);

}  // namespace hadal
