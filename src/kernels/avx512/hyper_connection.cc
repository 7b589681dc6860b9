#include "kernels/generic/hyper_connection.h"

#include "kernels/avx512/lanes.h"
#include "kernels/families.h"

namespace hadal {

void avx512::fill_hyper_connection(KernelTable& table) { generic::fill_hyper_connection<Lanes>(table); }

}  // namespace hadal
