#include "kernels/generic/rows.h"

#include "kernels/avx2/lanes.h"
#include "kernels/families.h"

namespace hadal {

void avx2::fill_rows(KernelTable& table) { generic::fill_rows<Lanes>(table); }

}  // namespace hadal
