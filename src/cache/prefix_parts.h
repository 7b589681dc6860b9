// The private parts of PrefixStore that more than one of its files need.
#pragma once

#include <cstddef>
#include <unordered_map>

#include "cache/prefix_store.h"

namespace hadal {

// Who holds what, counted once per page.
struct PrefixStore::Usage {
  struct Held {
    std::int64_t bytes = 0;
    std::int64_t ours = 0;  // references from the tree
    std::int64_t all = 0;   // references at the time of counting
    bool tail = false;
    bool in_use() const { return all > ours; }
  };
  std::unordered_map<const std::byte*, Held> held;
  std::int64_t own_bytes = 0;  // what only the store holds: this counts against the budget
  std::int64_t disk_bytes = 0;
  PrefixStats sizes;

  const Held& of(const PageRef& page) const { return held.at(page.bytes()); }
};

// How a prefix will be put together.
struct PrefixStore::Plan {
  Position length = 0;            // 0: nothing usable
  Node* boundary = nullptr;       // whose state is used; null: windows are refilled
  std::vector<PageSlot*> pages;   // full ones
  PageRef open;                   // the last page when it is in memory
  PageSlot* open_slot = nullptr;  // or a later full page on disk that contains it
  Node* open_boundary = nullptr;  // or the boundary whose file has its rows
};

}  // namespace hadal
