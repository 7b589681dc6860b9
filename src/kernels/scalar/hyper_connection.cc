#include "kernels/generic/hyper_connection.h"

#include "kernels/families.h"
#include "kernels/scalar/lanes.h"

namespace hadal {

void scalar::fill_hyper_connection(KernelTable& table) { generic::fill_hyper_connection<Lanes>(table); }

}  // namespace hadal
