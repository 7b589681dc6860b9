#include "kernels/generic/indexer.h"

#include "kernels/families.h"
#include "kernels/avx512/lanes.h"

namespace hadal {

void avx512::fill_indexer(KernelTable& table) { generic::fill_indexer<Lanes>(table); }

}  // namespace hadal
