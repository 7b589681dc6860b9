#include "kernels/generic/indexer.h"

#include "kernels/families.h"
#include "kernels/avx2/lanes.h"

namespace hadal {

void avx2::fill_indexer(KernelTable& table) { generic::fill_indexer<Lanes>(table); }

}  // namespace hadal
