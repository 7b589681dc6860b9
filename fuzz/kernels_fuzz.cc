// Every instruction set against the scalar definition: the bytes choose a family, shapes and values.
#include <cstdio>
#include <cstdlib>

#include "kernels/compare_sets.cc"

namespace {

using Compare = std::string (*)(const hadal::KernelTable&, const hadal::KernelTable&, hadal::testing::Random&);
constexpr Compare kFamilies[] = {
    hadal::testing::compare_products, hadal::testing::compare_elementwise, hadal::testing::compare_hyper_connection,
    hadal::testing::compare_rows,     hadal::testing::compare_attention,   hadal::testing::compare_indexer,
    hadal::testing::compare_top_k};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const Compare compare = kFamilies[data[0] % (sizeof(kFamilies) / sizeof(kFamilies[0]))];
  const hadal::KernelTables sets = hadal::available_kernels();
  for (int i = 1; i < sets.count; ++i) {
    hadal::testing::Random random(data[1], {data + 2, size - 2});
    if (std::string bad = compare(*sets.list[0], *sets.list[i], random); !bad.empty()) {
      std::fprintf(stderr, "scalar against %s: %s\n", sets.list[i]->name, bad.c_str());
      std::abort();
    }
  }
  return 0;
}
