#include "layers/workspace.h"

#include <algorithm>
#include <new>

#include "base/span.h"

namespace hadal {
namespace {
constexpr std::int64_t kAlign = 64;  // one cache line, one AVX-512 register
constexpr std::int64_t kFirstBlock = std::int64_t{1} << 20;
constexpr std::int64_t kSpare =
    16;  // a context that grows asks for a little more every step; do not move house each time
}  // namespace

void Workspace::add_block(std::int64_t bytes) {
  Block block;
  block.size = round_up(bytes, kAlign);
  block.data.reset(static_cast<std::byte*>(std::aligned_alloc(kAlign, static_cast<std::size_t>(block.size))));
  if (!block.data) throw std::bad_alloc();  // caught where a step begins: model/forward.cc
  total_ += block.size;
  blocks_.push_back(std::move(block));
  current_ = blocks_.size() - 1;
}

void* Workspace::take_bytes(std::int64_t bytes) {
  bytes = round_up(std::max<std::int64_t>(bytes, 1), kAlign);
  while (current_ < blocks_.size() && blocks_[current_].used + bytes > blocks_[current_].size) {
    if (current_ + 1 == blocks_.size()) break;
    ++current_;
  }
  if (blocks_.empty() || blocks_[current_].used + bytes > blocks_[current_].size)
    add_block(std::max({bytes, kFirstBlock, total_ / 8}));
  Block& block = blocks_[current_];
  void* out = block.data.get() + block.used;
  block.used += bytes;
  std::int64_t in_use = 0;
  for (std::size_t i = 0; i <= current_; ++i) in_use += blocks_[i].used;
  peak_ = std::max(peak_, in_use);
  return out;
}

void Workspace::release(Mark m) {
  for (std::size_t i = m.block + 1; i < blocks_.size(); ++i) blocks_[i].used = 0;
  if (!blocks_.empty()) {
    blocks_[m.block].used = m.used;
    current_ = m.block;
  }
}

void Workspace::reset() {
  if (blocks_.size() > 1) {
    blocks_.clear();
    total_ = 0;
    add_block(peak_ + peak_ / kSpare);
  }
  for (Block& block : blocks_) block.used = 0;
  current_ = 0;
}

}  // namespace hadal
