// Memory for cache pages: slots of one size side by side in regions of whole huge pages. A page of Flash has 3.4 MiB;
// alone it would lie half on 4 KiB pages, and a decode step at a million tokens would wait for the address translation.
#pragma once

#include <cstddef>

namespace hadal {

// `bytes` at an address that is a multiple of 64, not zeroed; null when there is no memory. Any thread.
std::byte* take_slot(std::size_t bytes);
// Gives back what take_slot(bytes) gave. A region without a taken slot goes back to the system.
void give_slot(std::byte* slot, std::size_t bytes) noexcept;

struct SlabUse {
  std::size_t regions = 0, reserved_bytes = 0, taken_bytes = 0;
  std::size_t free_bytes = 0;  // slots that nobody has: address space, until they are used
};
SlabUse slab_use();

}  // namespace hadal
