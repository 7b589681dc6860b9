#include "kernels/generic/attention.h"

#include "kernels/avx2/lanes.h"
#include "kernels/families.h"

namespace hadal {

void avx2::fill_attention(KernelTable& table) { generic::fill_attention<Lanes>(table); }

}  // namespace hadal
