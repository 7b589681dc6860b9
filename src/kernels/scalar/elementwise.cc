#include "kernels/generic/elementwise.h"

#include "kernels/families.h"
#include "kernels/scalar/lanes.h"

namespace hadal {

void scalar::fill_elementwise(KernelTable& table) { generic::fill_elementwise<Lanes>(table); }

}  // namespace hadal
