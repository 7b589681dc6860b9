// One anonymous mapping for everything a model keeps in memory: huge pages advised, freed as a whole, 64-byte aligned
// parts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace hadal {

// Memory this process could still take: what the kernel calls available, less if a control group allows less. -1:
// unknown.
std::int64_t available_memory_bytes();

class Arena {
 public:
  Arena() = default;
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  ~Arena();

  // Reserves address space; memory is taken when written. kNoMemory when the system refuses.
  static Result<Arena> reserve(std::int64_t bytes);

  std::byte* at(std::int64_t offset) const { return data_ + offset; }
  std::int64_t bytes() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace hadal
