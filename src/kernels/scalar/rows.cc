#include "kernels/generic/rows.h"

#include "kernels/families.h"
#include "kernels/scalar/lanes.h"

namespace hadal {

void scalar::fill_rows(KernelTable& table) { generic::fill_rows<Lanes>(table); }

}  // namespace hadal
