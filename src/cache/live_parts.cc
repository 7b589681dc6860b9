#include "cache/live_parts.h"

#include <algorithm>
#include <cstring>

namespace hadal {
namespace {

// Calls visit(offset, bytes) for every run of bytes that matters.
template <class Visit>
void visit_state(const CacheLayout& layout, Position length, Visit&& visit) {
  for (std::size_t i = 0; i < layout.layers.size(); ++i) {
    const CacheLayout::Layer& l = layout.layers[i];
    // A window ends where the next area of the block begins: at the tail, or at the next layer's window.
    const bool last = i + 1 == layout.layers.size();
    const std::int64_t next = last ? layout.streams_offset : layout.layers[i + 1].window_offset;
    visit(l.window_offset, (l.ratio ? l.tail_offset : next) - l.window_offset);
    if (!l.ratio) continue;
    // Ratio 4 keeps the previous window too, so all slots are live; the MTP block may be one token behind.
    const bool ring = l.ratio == 4 || static_cast<std::int64_t>(i) >= layout.main_layers;
    const std::int64_t tail = l.tail_floats * 4;
    visit(l.tail_offset, ring ? tail : tail / l.ratio * (length % l.ratio));
    if (l.index_tail_floats) visit(l.index_tail_offset, l.index_tail_floats * 4);
  }
  visit(layout.streams_offset, layout.state_bytes - layout.streams_offset);
}

template <class Visit>
void visit_rows(const CacheLayout& layout, Position tokens, Visit&& visit) {
  for (const CacheLayout::Layer& l : layout.layers) {
    if (!l.ratio) continue;
    const std::int64_t rows = std::min(tokens / l.ratio, l.rows_per_page);
    visit(l.rows_offset, rows * layout.row_bytes);
    if (l.keys_per_page) visit(l.keys_offset, std::min(round_up(rows, kKeyTile), l.keys_per_page) * layout.key_bytes);
  }
}

struct Size {
  std::int64_t total = 0;
  void operator()(std::int64_t, std::int64_t bytes) { total += bytes; }
};

struct Pack {
  const std::byte* from;
  std::byte* to;
  void operator()(std::int64_t offset, std::int64_t bytes) {
    std::memcpy(to, from + offset, static_cast<std::size_t>(bytes));
    to += bytes;
  }
};

struct Unpack {
  const std::byte* from;
  std::byte* to;
  void operator()(std::int64_t offset, std::int64_t bytes) {
    std::memcpy(to + offset, from, static_cast<std::size_t>(bytes));
    from += bytes;
  }
};

Status check_size(const char* what, Bytes image, std::int64_t expected) {
  if (image.size() == static_cast<std::size_t>(expected)) return {};
  return fail(ErrorCode::kBadInput, "kept {} have {} bytes, {} were expected", what, image.size(), expected);
}

}  // namespace

std::int64_t state_image_bytes(const CacheLayout& layout, Position length) {
  Size size;
  visit_state(layout, length, size);
  return size.total;
}

void pack_state(const CacheLayout& layout, Position length, const std::byte* block, std::byte* image) {
  visit_state(layout, length, Pack{block, image});
}

Status unpack_state(const CacheLayout& layout, Position length, Bytes image, std::byte* block) {
  HADAL_CHECK_OK(check_size("windows and tails", image, state_image_bytes(layout, length)));
  visit_state(layout, length, Unpack{image.data(), block});
  return {};
}

std::int64_t row_image_bytes(const CacheLayout& layout, Position tokens) {
  Size size;
  visit_rows(layout, tokens, size);
  return size.total;
}

void pack_rows(const CacheLayout& layout, Position tokens, const std::byte* page, std::byte* image) {
  visit_rows(layout, tokens, Pack{page, image});
}

Status unpack_rows(const CacheLayout& layout, Position tokens, Bytes image, std::byte* page) {
  HADAL_CHECK_OK(check_size("rows", image, row_image_bytes(layout, tokens)));
  visit_rows(layout, tokens, Unpack{image.data(), page});
  return {};
}

}  // namespace hadal
