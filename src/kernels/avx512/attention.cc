#include "kernels/generic/attention.h"

#include "kernels/families.h"
#include "kernels/avx512/lanes.h"

namespace hadal {

void avx512::fill_attention(KernelTable& table) { generic::fill_attention<Lanes>(table); }

}  // namespace hadal
