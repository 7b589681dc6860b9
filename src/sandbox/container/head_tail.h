// What is kept of a stream without end: the first half of a limit and the last half, by offset.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::sandbox {

class HeadTail {
 public:
  // Keeps at most `limit` bytes; memory grows with what comes, not with the limit.
  explicit HeadTail(std::int64_t limit = 0) : head_limit_(limit - limit / 2), tail_limit_(limit / 2) {}

  void append(std::string_view bytes) {
    total_ += size(bytes);
    const auto room = static_cast<std::size_t>(head_limit_ - size(head_));
    head_ += bytes.substr(0, room);
    if (bytes.size() <= room || tail_limit_ == 0) return;
    bytes.remove_prefix(room);
    if (size(bytes) > tail_limit_) bytes.remove_prefix(bytes.size() - static_cast<std::size_t>(tail_limit_));
    std::int64_t at = total_ - size(bytes);
    while (!bytes.empty()) {
      const std::int64_t place = (at - head_limit_) % tail_limit_;
      const auto n = static_cast<std::size_t>(std::min(tail_limit_ - place, size(bytes)));
      const std::size_t needed = static_cast<std::size_t>(place) + n;
      if (tail_.size() < needed) tail_.resize(needed);
      std::copy_n(bytes.data(), n, tail_.data() + place);
      bytes.remove_prefix(n);
      at += static_cast<std::int64_t>(n);
    }
  }

  std::int64_t total() const { return total_; }
  std::int64_t kept() const { return size(head_) + size(tail_); }

  struct Piece {
    std::int64_t offset = 0;
    std::string_view bytes;  // until the next append
  };
  // The first kept bytes at or after `from`, at most `most`. Empty at the end.
  Piece read(std::int64_t from, std::size_t most) const {
    if (from < size(head_)) return {from, std::string_view(head_).substr(static_cast<std::size_t>(from), most)};
    const std::int64_t begin = std::max({from, head_limit_, total_ - tail_limit_});
    if (begin >= total_ || tail_limit_ == 0) return {total_, {}};
    const std::int64_t place = (begin - head_limit_) % tail_limit_;
    const std::int64_t n = std::min({total_ - begin, tail_limit_ - place, static_cast<std::int64_t>(most)});
    return {begin, std::string_view(tail_).substr(static_cast<std::size_t>(place), static_cast<std::size_t>(n))};
  }

 private:
  static std::int64_t size(std::string_view s) { return static_cast<std::int64_t>(s.size()); }

  std::int64_t head_limit_, tail_limit_, total_ = 0;
  std::string head_, tail_;  // tail_ is a ring: the byte at offset x lies at (x - head_limit_) % tail_limit_
};

}  // namespace hadal::sandbox
