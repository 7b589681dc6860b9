#include "serve/meter.h"

#include <algorithm>

namespace hadal::serve {

std::int64_t CacheBytes::total() const {
  std::int64_t sum = window + index_keys + open_windows;
  for (const auto& [ratio, bytes] : compressed) sum += bytes;
  return sum;
}

CacheMeter::CacheMeter(const ModelConfig& config, const RowFormat& format)
    : layout_(CacheLayout::make(config, format)), window_(config.sliding_window) {}

CacheBytes CacheMeter::of(Position tokens) const {
  CacheBytes out;
  for (std::int64_t i = 0; i < layout_.main_layers; ++i) {
    const CacheLayout::Layer& layer = layout_.layers[static_cast<std::size_t>(i)];
    out.window += std::min<std::int64_t>(tokens, window_) * layout_.row_bytes;
    out.open_windows += (layer.tail_floats + layer.index_tail_floats) * static_cast<std::int64_t>(sizeof(float));
    if (layer.ratio <= 0 || layer.rows_per_page == 0) continue;
    out.compressed[layer.ratio] += tokens / layer.ratio * layout_.row_bytes;
    if (layer.keys_per_page > 0) out.index_keys += tokens / layer.ratio * layout_.key_bytes;
  }
  return out;
}

}  // namespace hadal::serve
