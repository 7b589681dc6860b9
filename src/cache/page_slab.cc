#include "cache/page_slab.h"

#include <sys/mman.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <set>

namespace hadal {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kAlign = 64;
// Slots of a region: of 1 to so many, the number that leaves least of the last huge page unused. Regions are small, so
// that a session that ends gives its memory back though another one still has a page in one of them.
constexpr std::size_t kMostSlots = 64;
constexpr std::size_t kMostRegion = std::size_t{40} << 20;  // eleven pages of Flash, 0.7 % of them unused
// Smaller pages belong to models so small that no address translation is ever waited for.
constexpr std::size_t kLeastSlot = 64 << 10;

constexpr std::size_t up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

#ifndef __SANITIZE_ADDRESS__
std::size_t slots_for(std::size_t bytes) {
  std::size_t best = 1;
  const auto waste = [&](std::size_t n) {
    return static_cast<double>(up(n * bytes, kHugePage) - n * bytes) / static_cast<double>(n);
  };
  for (std::size_t n = 2; n <= kMostSlots && n * bytes <= kMostRegion; ++n)
    if (waste(n) < waste(best)) best = n;
  return best;
}
#endif

struct Region {
  std::size_t bytes = 0;  // of a slot
  std::size_t slots = 0;
  std::uint64_t taken = 0;  // a bit for each
  std::size_t size() const { return up(slots * bytes, kHugePage); }
  bool full() const { return taken == (slots == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << slots) - 1); }
};

struct Slab {
  std::mutex mutex;
  std::map<std::uintptr_t, Region> regions;              // by first address
  std::map<std::size_t, std::set<std::uintptr_t>> open;  // regions with a free slot, by slot size
  std::size_t reserved = 0, taken = 0;
};

// Never destroyed: pages of static objects are given back after main.
Slab& slab() {
  static Slab* const one = new Slab;
  return *one;
}

#ifndef __SANITIZE_ADDRESS__
// An address that is a multiple of a huge page. The kernel does not promise one, so more is asked for and trimmed.
std::uintptr_t map_region(std::size_t size) {
  void* const all = ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return 0;
  const auto begin = reinterpret_cast<std::uintptr_t>(all), first = up(begin, kHugePage);
  if (first > begin) ::munmap(all, first - begin);
  const std::size_t behind = begin + kHugePage - first;
  if (behind > 0) ::munmap(reinterpret_cast<void*>(first + size), behind);
  ::madvise(reinterpret_cast<void*>(first), size, MADV_HUGEPAGE);  // a kernel without them does what it can
  return first;
}
#endif

}  // namespace

std::byte* take_slot(std::size_t bytes) {
  bytes = up(bytes, kAlign);
  // Small pages are no matter of address translation; and under AddressSanitizer each page is an allocation of its own,
  // so that a use after its end is seen.
#ifdef __SANITIZE_ADDRESS__
  return static_cast<std::byte*>(std::aligned_alloc(kAlign, bytes));
#else
  if (bytes < kLeastSlot) return static_cast<std::byte*>(std::aligned_alloc(kAlign, bytes));
  Slab& s = slab();
  const std::lock_guard lock(s.mutex);
  try {
    auto& open = s.open[bytes];
    if (open.empty()) {
      Region region{bytes, slots_for(bytes), 0};
      const std::uintptr_t first = map_region(region.size());
      if (first == 0) return nullptr;
      open.insert(first);
      s.regions.emplace(first, region);
      s.reserved += region.size();
    }
    const std::uintptr_t first = *open.begin();  // the lowest: what is free gathers at the end
    Region& region = s.regions.at(first);
    std::size_t i = 0;
    while ((region.taken >> i & 1) != 0) ++i;
    region.taken |= std::uint64_t{1} << i;
    if (region.full()) open.erase(first);
    s.taken += bytes;
    return reinterpret_cast<std::byte*>(first + i * bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
#endif
}

void give_slot(std::byte* slot, std::size_t bytes) noexcept {
  bytes = up(bytes, kAlign);
#ifdef __SANITIZE_ADDRESS__
  std::free(slot);
#else
  if (bytes < kLeastSlot) return std::free(slot);
  Slab& s = slab();
  const std::lock_guard lock(s.mutex);
  const auto at = reinterpret_cast<std::uintptr_t>(slot);
  const auto it = std::prev(s.regions.upper_bound(at));
  const std::uintptr_t first = it->first;
  Region& region = it->second;
  region.taken &= ~(std::uint64_t{1} << (at - first) / bytes);
  s.taken -= bytes;
  auto& open = s.open[bytes];
  if (region.taken != 0) {
    open.insert(first);
    return;
  }
  open.erase(first);
  s.reserved -= region.size();
  ::munmap(reinterpret_cast<void*>(first), region.size());
  s.regions.erase(it);
#endif
}

SlabUse slab_use() {
  Slab& s = slab();
  const std::lock_guard lock(s.mutex);
  std::size_t free = 0;
  for (const auto& [first, region] : s.regions)
    free += (region.slots - static_cast<std::size_t>(std::popcount(region.taken))) * region.bytes;
  return {s.regions.size(), s.reserved, s.taken, free};
}

}  // namespace hadal
