// A page: compressed rows and index keys of every layer for a run of page_tokens tokens (report, figure 6). Rows are
// appended, never changed; a full page is immutable and shared by reference between forks. Writing into a page that
// others hold copies it first.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/result.h"
#include "layers/state.h"
#include "weights/config.h"

namespace hadal {

// Where everything lies: pages for what grows, one fixed-size block per sequence for what is mutable.
struct CacheLayout {
  struct Layer {
    std::int64_t ratio = 0;
    std::int64_t rows_per_page = 0, rows_offset = 0;  // in a page; 0 rows for SWA
    std::int64_t keys_per_page = 0, keys_offset = 0;  // CSA only
    std::int64_t window_offset = 0;                   // in the state block: [W][row_bytes]
    std::int64_t tail_offset = 0, index_tail_offset = 0;
    std::int64_t tail_floats = 0, index_tail_floats = 0;
  };
  std::int64_t page_tokens = 0;  // a multiple of 128, of every ratio and of 16 index keys
  std::int64_t page_bytes = 0;
  std::int64_t state_bytes = 0;
  std::int64_t streams_offset = 0;  // last_streams [n*d] in the state block
  std::int64_t row_bytes = 0, key_bytes = 0;
  std::int64_t main_layers = 0;
  std::vector<Layer> layers;  // main layers, then the MTP block

  static CacheLayout make(const ModelConfig& config, const RowFormat& format);

  // Growth per token of context, windows and tails not counted (Flash 3,514; Pro 5,031).
  double bytes_per_token() const { return static_cast<double>(page_bytes) / static_cast<double>(page_tokens); }
  std::int64_t pages_for(Position tokens) const { return (tokens + page_tokens - 1) / page_tokens; }
  // Memory of one sequence of `tokens` tokens: pages, state block, and the log of ids.
  std::int64_t sequence_bytes(Position tokens) const {
    return pages_for(tokens) * page_bytes + state_bytes + tokens * static_cast<std::int64_t>(sizeof(TokenId));
  }
};

// Counted reference to a page's bytes (64-byte aligned, zero when new unless the caller fills all of them anyway).
class PageRef {
 public:
  PageRef() = default;
  static Result<PageRef> allocate(std::int64_t bytes, bool zero = true);
  PageRef(const PageRef& other) : page_(other.page_) {
    if (page_) page_->holders.fetch_add(1, std::memory_order_relaxed);
  }
  PageRef(PageRef&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  PageRef& operator=(PageRef other) noexcept {
    std::swap(page_, other.page_);
    return *this;
  }
  ~PageRef();

  std::byte* bytes() const { return page_->bytes; }
  std::int64_t holders() const { return page_->holders.load(std::memory_order_acquire); }
  bool shared() const { return holders() > 1; }
  explicit operator bool() const { return page_ != nullptr; }

 private:
  struct Page {
    std::atomic<std::int64_t> holders;
    std::byte* bytes;
    std::size_t size;
  };
  Page* page_ = nullptr;
};

}  // namespace hadal
