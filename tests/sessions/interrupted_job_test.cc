#include "sessions/interrupted_job.h"

namespace hadal {
namespace {

TEST(InterruptedJob, Kill9AtRandomMomentsLosesNothing) { kill_at_random_moments(12, 1); }

}  // namespace
}  // namespace hadal
