// Chooses the table: what the processor offers, or what HADAL_ISA asks for.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/families.h"
#include "kernels/self_check.h"

namespace hadal {
namespace {

using Fill = void (*)(KernelTable&);

constexpr Fill kScalar[] = {scalar::fill_products, scalar::fill_elementwise, scalar::fill_hyper_connection,
                            scalar::fill_rows,     scalar::fill_attention,   scalar::fill_indexer,
                            scalar::fill_top_k};
constexpr Fill kAvx2[] = {avx2::fill_products, avx2::fill_elementwise, avx2::fill_hyper_connection,
                          avx2::fill_rows,     avx2::fill_attention,   avx2::fill_indexer,
                          avx2::fill_top_k};
constexpr Fill kAvx512[] = {avx512::fill_products, avx512::fill_elementwise, avx512::fill_hyper_connection,
                            avx512::fill_rows,     avx512::fill_attention,   avx512::fill_indexer,
                            avx512::fill_top_k};

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") &&
         __builtin_cpu_supports("popcnt");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bitalg");
}

struct Tables {
  KernelTable scalar = {}, avx2 = {}, avx512 = {};
  KernelTables offered = {};

  Tables() {
    add(scalar, "scalar", kScalar);
    if (has_avx2()) add(avx2, "avx2", kAvx2);
    // A processor whose dot product rounds otherwise would break "same bits": it gets the AVX2 set.
    if (has_avx512() && bf16_dot_is_two_fmas()) add(avx512, "avx512", kAvx512);
  }
  template <std::size_t n>
  void add(KernelTable& table, const char* name, const Fill (&families)[n]) {
    table.name = name;
    for (Fill fill : families) fill(table);
    offered.list[offered.count++] = &table;
  }
};

const Tables& tables() {
  static const Tables all;
  return all;
}

const KernelTable& choose() {
  const KernelTables& offered = tables().offered;
  const char* wanted = std::getenv("HADAL_ISA");
  if (wanted == nullptr || *wanted == '\0') return *offered.list[offered.count - 1];
  for (int i = 0; i < offered.count; ++i)
    if (std::strcmp(offered.list[i]->name, wanted) == 0) return *offered.list[i];
  std::fprintf(stderr, "hadal: HADAL_ISA=%s cannot run here; this machine offers", wanted);
  for (int i = 0; i < offered.count; ++i) std::fprintf(stderr, " %s", offered.list[i]->name);
  std::fprintf(stderr, "\n");
  std::exit(2);
}

}  // namespace

const char* kernel_sets_text() {
  static const std::string text = [] {
    std::string names;
    const KernelTables& offered = tables().offered;
    for (int i = 0; i < offered.count; ++i) names += std::string(i > 0 ? ", " : "") + offered.list[i]->name;
    if (has_avx512() && offered.count == 2)
      names += " (avx512 left out: this processor's bfloat16 dot product does not round as two fused multiply-adds)";
    return names;
  }();
  return text.c_str();
}

KernelTables available_kernels() { return tables().offered; }

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

}  // namespace hadal
