#include "kernels/generic/indexer.h"

#include "kernels/families.h"
#include "kernels/scalar/lanes.h"

namespace hadal {

void scalar::fill_indexer(KernelTable& table) { generic::fill_indexer<Lanes>(table); }

}  // namespace hadal
