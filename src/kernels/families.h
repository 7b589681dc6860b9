// Each instruction set fills its table one family of operations at a time; a family is one .cc file per set.
#pragma once

#include "kernels/kernels.h"

namespace hadal {

namespace scalar {
void fill_products(KernelTable& table);
void fill_elementwise(KernelTable& table);
void fill_hyper_connection(KernelTable& table);
void fill_rows(KernelTable& table);
void fill_attention(KernelTable& table);
void fill_indexer(KernelTable& table);
void fill_top_k(KernelTable& table);
}  // namespace scalar

namespace avx2 {
void fill_products(KernelTable& table);
void fill_elementwise(KernelTable& table);
void fill_hyper_connection(KernelTable& table);
void fill_rows(KernelTable& table);
void fill_attention(KernelTable& table);
void fill_indexer(KernelTable& table);
void fill_top_k(KernelTable& table);
}  // namespace avx2

namespace avx512 {
void fill_products(KernelTable& table);
void fill_elementwise(KernelTable& table);
void fill_hyper_connection(KernelTable& table);
void fill_rows(KernelTable& table);
void fill_attention(KernelTable& table);
void fill_indexer(KernelTable& table);
void fill_top_k(KernelTable& table);
}  // namespace avx512

}  // namespace hadal
