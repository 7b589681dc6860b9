// What a context costs in cache bytes, by kind.
#pragma once

#include <cstdint>
#include <map>

#include "cache/page.h"

namespace hadal::serve {

struct CacheBytes {
  std::int64_t window = 0;                               // rows of the sliding windows
  std::map<std::int64_t, std::int64_t> compressed = {};  // rows, by their layers' compression ratio
  std::int64_t index_keys = 0;                           // searched by the sparse layers' indexer
  std::int64_t open_windows = 0;                         // of compressors, not yet a row
  std::int64_t total() const;
};

class CacheMeter {
 public:
  CacheMeter(const ModelConfig& config, const RowFormat& format);
  CacheBytes of(Position tokens) const;

 private:
  CacheLayout layout_;
  std::int64_t window_ = 0;
};

}  // namespace hadal::serve
