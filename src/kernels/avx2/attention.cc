#include "kernels/generic/attention.h"

#include "kernels/families.h"
#include "kernels/avx2/lanes.h"

namespace hadal {

void avx2::fill_attention(KernelTable& table) { generic::fill_attention<Lanes>(table); }

}  // namespace hadal
