// A decode step takes nothing from the heap once it has seen its largest sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "cache/sequence.h"
#include "support/tiny_model.h"

// AddressSanitizer has its own operators, and checks that they are used in pairs.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HADAL_COUNTS_ALLOCATIONS 0
#else
#define HADAL_COUNTS_ALLOCATIONS 1
#endif

#if HADAL_COUNTS_ALLOCATIONS

namespace {
std::atomic<bool> counting{false};
std::atomic<long> allocations{0};
}  // namespace

#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // both are replaced
void* operator new(std::size_t size) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace hadal {
namespace {

TEST(Allocation, NoneInADecodeStep) {
  const auto model = test::tiny_model(true, 2);
  auto sequence = Sequence::create(model);
  ASSERT_TRUE(sequence);
  const auto ids = test::random_ids(*model, 400, 3);
  // Past the window and several compressed entries, and through every page boundary on the way.
  ASSERT_TRUE(sequence->feed(std::span(ids).first(300)));
  std::vector<float> logits(static_cast<std::size_t>(model->config().vocab_size));
  FeedOutputs outputs;
  outputs.last_logits = logits.data();
  std::vector<long> counts;
  counts.reserve(100);
  for (std::size_t i = 300; i < 400; ++i) {
    allocations = 0;
    counting = true;
    const Status fed = sequence->feed(std::span(ids).subspan(i, 1), outputs);
    counting = false;
    ASSERT_TRUE(fed);
    counts.push_back(allocations);
  }
  // The list of tokens grows by doubling: one step of a hundred may show it.
  EXPECT_LE(std::count_if(counts.begin(), counts.end(), [](long n) { return n > 0; }), 1)
      << testing::PrintToString(counts);
}

}  // namespace
}  // namespace hadal

#endif
