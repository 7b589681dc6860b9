// The rows of the embedding: a few of many are looked up in every step, so in a release they stay in its file and are
// read from there, through the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/ids.h"
#include "base/result.h"
#include "files/steady_file.h"

namespace hadal {

class Embedding {
 public:
  Embedding() = default;
  // BF16 [vocabulary][width] in memory that outlives this.
  Embedding(const std::uint16_t* rows, std::int64_t width) : width_(width), rows_(rows) {}
  // The same at `offset` of a file.
  Embedding(SteadyFile file, std::uint64_t offset, std::int64_t width)
      : width_(width), file_(std::move(file)), offset_(offset) {}

  std::int64_t width() const { return width_; }
  bool in_file() const { return file_.has_value(); }

  // The rows of `ids`, which are in the vocabulary, one after the other into out [ids][width]. Errors: kIo when the
  // file cannot be read or is not what it was.
  Status gather(std::span<const TokenId> ids, std::uint16_t* out) const;

 private:
  std::int64_t width_ = 0;
  const std::uint16_t* rows_ = nullptr;
  std::optional<SteadyFile> file_;
  std::uint64_t offset_ = 0;
};

}  // namespace hadal
