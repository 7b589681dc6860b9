#include "kernels/generic/rows.h"

#include "kernels/avx512/lanes.h"
#include "kernels/families.h"

namespace hadal {

void avx512::fill_rows(KernelTable& table) { generic::fill_rows<Lanes>(table); }

}  // namespace hadal
