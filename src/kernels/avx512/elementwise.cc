#include "kernels/generic/elementwise.h"

#include "kernels/avx512/lanes.h"
#include "kernels/families.h"

namespace hadal {

void avx512::fill_elementwise(KernelTable& table) { generic::fill_elementwise<Lanes>(table); }

}  // namespace hadal
