#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "kernels/kernels.h"

namespace hadal {
namespace {

// Each case runs in a process of its own, because the choice is made once.
int chosen_is(const char* wanted, const char* expected) {
  if (wanted != nullptr)
    setenv("HADAL_ISA", wanted, 1);
  else
    unsetenv("HADAL_ISA");
  return std::strcmp(kernels().name, expected) == 0 ? 0 : 1;
}

TEST(Dispatch, ScalarFirstThenFaster) {
  const KernelTables sets = available_kernels();
  const char* order[] = {"scalar", "avx2", "avx512"};
  ASSERT_GE(sets.count, 1);
  for (int i = 0; i < sets.count; ++i) EXPECT_STREQ(sets.list[i]->name, order[i]);
  EXPECT_EQ(std::string(kernel_sets_text()).rfind("scalar", 0), 0u);
}

TEST(Dispatch, EveryEntryIsFilled) {
  const KernelTables sets = available_kernels();
  for (int i = 0; i < sets.count; ++i) {
    // A table is a name and function pointers only.
    static_assert(sizeof(KernelTable) % sizeof(void*) == 0);
    const auto* entries = reinterpret_cast<void* const*>(sets.list[i]);
    for (std::size_t e = 0; e < sizeof(KernelTable) / sizeof(void*); ++e)
      EXPECT_NE(entries[e], nullptr) << sets.list[i]->name << " entry " << e;
  }
}

TEST(DispatchDeathTest, TheBestWithoutAWish) {
  const KernelTables sets = available_kernels();
  EXPECT_EXIT(std::exit(chosen_is(nullptr, sets.list[sets.count - 1]->name)), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(std::exit(chosen_is("", sets.list[sets.count - 1]->name)), ::testing::ExitedWithCode(0), "");
}

TEST(DispatchDeathTest, TheWishedOne) {
  const KernelTables sets = available_kernels();
  for (int i = 0; i < sets.count; ++i)
    EXPECT_EXIT(std::exit(chosen_is(sets.list[i]->name, sets.list[i]->name)), ::testing::ExitedWithCode(0), "");
}

TEST(DispatchDeathTest, AnUnknownWishIsAnError) {
  EXPECT_EXIT(std::exit(chosen_is("avx9", "scalar")), ::testing::ExitedWithCode(2), "HADAL_ISA=avx9 cannot run here");
}

}  // namespace
}  // namespace hadal
