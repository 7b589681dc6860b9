#include "weights/expert_room.h"

#include <algorithm>

namespace hadal {
namespace {

// Buffers for experts on their way: with sixteen reads of 4 MiB in flight five experts of Flash are being read, and
// others have arrived and wait to be packed. A small memory gives at most a fifth to them.
constexpr std::int64_t kMostStaging = 12, kStagingShare = 5;

double gigabytes(std::int64_t bytes) { return 1e-9 * static_cast<double>(bytes); }

}  // namespace

Result<std::int64_t> expert_memory(const ExpertSizes& sizes, const ExpertPlacement& placement, std::int64_t available) {
  if (placement.slots > 0) return 1;
  const std::int64_t all = sizes.dense_bytes + sizes.expert_bytes;
  const bool automatic = placement.memory_bytes == ExpertPlacement::kAuto;
  const std::int64_t left = available - sizes.dense_bytes - placement.keep_free_bytes;
  // A caller who wants to keep more free than there is will hear of it from who takes it; experts on disk do not help.
  const bool beside =
      all + placement.keep_free_bytes <= available || (all <= available && left < sizes.expert_bytes / 8);
  const bool resident = automatic ? available < 0 || beside : placement.memory_bytes >= sizes.expert_bytes;
  if (resident && available >= 0 && all > available)
    return fail(ErrorCode::kNoMemory, "the packed weights need {:.1f} GB of memory and {:.1f} GB are available",
                gigabytes(all), gigabytes(available));
  if (resident) return 0;
  const std::int64_t memory =
      automatic ? static_cast<std::int64_t>(static_cast<double>(left) / (1 + placement.keep_free_share))
                : placement.memory_bytes;
  if (memory <= 0 || (available >= 0 && sizes.dense_bytes + memory > available))
    return fail(ErrorCode::kNoMemory,
                "with experts on disk the other weights need {:.1f} GB, {:.1f} GB are wanted beside them and {:.1f} GB "
                "are available",
                gigabytes(sizes.dense_bytes), gigabytes(automatic ? placement.keep_free_bytes : memory),
                gigabytes(available));
  return memory;
}

ExpertSlots expert_slots(std::int64_t memory_bytes, std::int64_t slot_bytes, std::int64_t staging_bytes,
                         std::int64_t experts) {
  ExpertSlots out;
  out.staging = std::clamp(memory_bytes / kStagingShare / staging_bytes, kLeastStaging, kMostStaging);
  out.slots = std::clamp<std::int64_t>((memory_bytes - out.staging * staging_bytes) / slot_bytes, 0, experts);
  return out;
}

}  // namespace hadal
