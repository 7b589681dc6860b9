#include "kernels/kernels.h"

namespace hadal {

std::int64_t activation_bytes(ActivationKind kind, std::int64_t count, std::int64_t cols) {
  const std::int64_t padded = (cols + kColumnPad - 1) / kColumnPad * kColumnPad;
  switch (kind) {
    case ActivationKind::kF32:
      return count * padded * 4;
    case ActivationKind::kBf16:
      return count * padded * 2;
    case ActivationKind::kInt8:
      return count * (padded + padded / 32 * 8);
  }
  return 0;
}

}  // namespace hadal
