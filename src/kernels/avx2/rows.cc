#include "kernels/generic/rows.h"

#include "kernels/families.h"
#include "kernels/avx2/lanes.h"

namespace hadal {

void avx2::fill_rows(KernelTable& table) { generic::fill_rows<Lanes>(table); }

}  // namespace hadal
