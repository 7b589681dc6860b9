#include "kernels/generic/rows.h"

#include "kernels/families.h"
#include "kernels/avx512/lanes.h"

namespace hadal {

void avx512::fill_rows(KernelTable& table) { generic::fill_rows<Lanes>(table); }

}  // namespace hadal
