#include "kernels/generic/top_k.h"

#include "kernels/families.h"
#include "kernels/scalar/lanes.h"

namespace hadal {
namespace {

void top_k(const float* scores, std::int64_t n, std::int64_t k, std::int32_t* out, std::int32_t* scratch) {
  generic::top_k<Lanes>(scores, n, k, out, scratch, generic::collect_one_by_one<Lanes>);
}

}  // namespace

void scalar::fill_top_k(KernelTable& table) { table.top_k = top_k; }

}  // namespace hadal
