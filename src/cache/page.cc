#include "cache/page.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

#include "base/span.h"
#include "cache/page_slab.h"
#include "layers/compressor.h"
#include "layers/indexer.h"

namespace hadal {
namespace {
constexpr std::int64_t kAlign = 64;
// 1,024 tokens: 3.4 MiB for Flash. Small enough that a short chat wastes little and a fork of a half-full page copies
// in about a millisecond, large enough that a million tokens need only a thousand pages.
constexpr std::int64_t kPageTokens = 1024;
}  // namespace

CacheLayout CacheLayout::make(const ModelConfig& config, const RowFormat& format) {
  CacheLayout out;
  out.row_bytes = format.row_bytes();
  out.key_bytes = format.key_bytes();
  std::int64_t unit = std::lcm<std::int64_t>(128, 4 * kKeyTile);
  for (std::int64_t ratio : config.compress_ratios)
    if (ratio) unit = std::lcm(unit, ratio);
  out.page_tokens = round_up(kPageTokens, unit);

  std::int64_t page = 0, state = 0;
  auto place = [](std::int64_t& at, std::int64_t bytes) {
    std::int64_t offset = at;
    at += round_up(bytes, kAlign);
    return offset;
  };
  out.main_layers = config.num_hidden_layers;
  std::int64_t blocks = config.num_hidden_layers + config.num_nextn_predict_layers;
  for (std::int64_t l = 0; l < blocks; ++l) {
    Layer layer;
    layer.ratio = config.ratio(l);
    layer.window_offset = place(state, config.sliding_window * out.row_bytes);
    if (layer.ratio) {
      layer.rows_per_page = out.page_tokens / layer.ratio;
      layer.rows_offset = place(page, layer.rows_per_page * out.row_bytes);
      layer.tail_floats = CompressorShape{layer.ratio, config.head_dim}.tail_floats();
      layer.tail_offset = place(state, layer.tail_floats * 4);
    }
    if (layer.ratio == 4) {
      layer.keys_per_page = layer.rows_per_page;
      layer.keys_offset = place(page, layer.keys_per_page * out.key_bytes);
      layer.index_tail_floats = index_compressor_shape(config).tail_floats();
      layer.index_tail_offset = place(state, layer.index_tail_floats * 4);
    }
    out.layers.push_back(layer);
  }
  out.streams_offset = place(state, config.hc_mult * config.hidden_size * 4);
  out.page_bytes = page;
  out.state_bytes = state;
  return out;
}

Result<PageRef> PageRef::allocate(std::int64_t bytes, bool zero) {
  auto size = static_cast<std::size_t>(round_up(std::max<std::int64_t>(bytes, kAlign), kAlign));
  std::byte* const memory = take_slot(size);
  if (!memory)
    return fail(ErrorCode::kNoMemory, "no memory for a cache page of {} bytes; shorten the context or close sessions",
                size);
  if (zero) std::memset(memory, 0, size);
  PageRef ref;
  ref.page_ = new (std::nothrow) Page{{1}, memory, size};
  if (!ref.page_) {
    give_slot(memory, size);
    return fail(ErrorCode::kNoMemory, "no memory for a cache page");
  }
  return ref;
}

PageRef::~PageRef() {
  if (page_ && page_->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    give_slot(page_->bytes, page_->size);
    delete page_;
  }
}

}  // namespace hadal
