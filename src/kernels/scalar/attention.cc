#include "kernels/generic/attention.h"

#include "kernels/families.h"
#include "kernels/scalar/lanes.h"

namespace hadal {

void scalar::fill_attention(KernelTable& table) { generic::fill_attention<Lanes>(table); }

}  // namespace hadal
