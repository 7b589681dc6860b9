// Chooses the table: what the processor offers, or what HADAL_ISA asks for.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/families.h"

namespace hadal {
namespace {

KernelTable scalar_table() {
  KernelTable t = {};
  t.name = "scalar";
  scalar::fill_products(t);
  scalar::fill_elementwise(t);
  scalar::fill_hyper_connection(t);
  scalar::fill_rows(t);
  scalar::fill_attention(t);
  scalar::fill_indexer(t);
  scalar::fill_top_k(t);
  return t;
}

struct Tables {
  KernelTable scalar = scalar_table();
  KernelTables offered = {};

  Tables() { offered.list[offered.count++] = &scalar; }
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

KernelTables available_kernels() { return tables().offered; }

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

}  // namespace hadal
