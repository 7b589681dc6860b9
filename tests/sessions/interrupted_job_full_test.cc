#include "sessions/interrupted_job.h"

namespace hadal {
namespace {

TEST(InterruptedJob, Kill9AtTwoHundredRandomMomentsLosesNothing) { kill_at_random_moments(200, 2); }

}  // namespace
}  // namespace hadal
