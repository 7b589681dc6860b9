#include "cache/page_slab.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "cache/page.h"
#include "layers/state.h"
#include "plan/published.h"

namespace hadal {
namespace {

#ifndef __SANITIZE_ADDRESS__  // which gives every slot an allocation of its own

constexpr std::size_t kFlashPage = 3'598'336;  // about that of Flash: no multiple of a huge page

TEST(PageSlab, SlotsDoNotOverlapAndAreGivenBack) {
  const SlabUse before = slab_use();
  std::map<std::uintptr_t, std::size_t> taken;
  std::mt19937 random(3);
  const std::size_t sizes[] = {kFlashPage, std::size_t{2} << 20, 184'576};
  for (int i = 0; i < 2000; ++i) {
    if (taken.size() < 30 && random() % 3 != 0) {
      const std::size_t bytes = sizes[random() % 3];
      std::byte* const slot = take_slot(bytes);
      ASSERT_NE(slot, nullptr);
      const auto at = reinterpret_cast<std::uintptr_t>(slot);
      EXPECT_EQ(at % 64, 0u);
      const auto next = taken.lower_bound(at);
      EXPECT_TRUE(next == taken.end() || at + bytes <= next->first);
      EXPECT_TRUE(next == taken.begin() || std::prev(next)->first + std::prev(next)->second <= at);
      slot[0] = slot[bytes - 1] = std::byte{1};
      taken[at] = bytes;
    } else if (!taken.empty()) {
      const auto it = std::next(taken.begin(), static_cast<std::ptrdiff_t>(random() % taken.size()));
      give_slot(reinterpret_cast<std::byte*>(it->first), it->second);
      taken.erase(it);
    }
  }
  for (const auto& [at, bytes] : taken) give_slot(reinterpret_cast<std::byte*>(at), bytes);
  EXPECT_EQ(slab_use().regions, before.regions);
  EXPECT_EQ(slab_use().reserved_bytes, before.reserved_bytes);
}

TEST(PageSlab, ThreadsShareIt) {
  const SlabUse before = slab_use();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 200; ++i) {
        std::byte* const slot = take_slot(kFlashPage);
        slot[0] = static_cast<std::byte>(t);
        std::this_thread::yield();
        EXPECT_EQ(slot[0], static_cast<std::byte>(t));
        give_slot(slot, kFlashPage);
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(slab_use().taken_bytes, before.taken_bytes);
}

// The promise of a million tokens, with what the slots round up to and the state block (report, section 3.6: 3,514
// bytes per token).
TEST(PageSlab, AMillionTokensOfFlashFitIn3750Megabytes) {
  const ModelConfig config = flash_config();
  const CacheLayout layout = CacheLayout::make(config, row_format(config, {}));
  const std::int64_t pages = layout.pages_for(1 << 20);
  std::vector<PageRef> held;
  const SlabUse before = slab_use();
  for (std::int64_t i = 0; i < pages; ++i) {
    auto page = PageRef::allocate(layout.page_bytes, false);  // address space: nothing is touched
    ASSERT_TRUE(page.has_value());
    held.push_back(std::move(*page));
  }
  const std::size_t all = slab_use().reserved_bytes - slab_use().free_bytes -
                          (before.reserved_bytes - before.free_bytes) + static_cast<std::size_t>(layout.state_bytes) +
                          (std::size_t{1} << 20) * sizeof(TokenId);
  RecordProperty("bytes", static_cast<int>(all >> 10));
  EXPECT_LE(all, 3'750'000'000u);
  EXPECT_GE(all, static_cast<std::size_t>(layout.sequence_bytes(1 << 20)));
}

#endif

TEST(PageSlab, PagesAreZeroWhenNew) {
  for (int i = 0; i < 3; ++i) {
    const auto page = PageRef::allocate(4 << 20);
    ASSERT_TRUE(page.has_value());
    for (int at = 0; at < 4 << 20; at += 4096) ASSERT_EQ(page->bytes()[at], std::byte{0});
    std::memset(page->bytes(), 7, 4 << 20);
  }
}

}  // namespace
}  // namespace hadal
