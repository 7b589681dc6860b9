// A trajectory's state out of its records.
#pragma once

#include "sandbox/log/record.h"
#include "sandbox/replay/judge.h"

namespace hadal::sandbox {

// The log has checked the order of records; a body that is no object changes nothing.
void take_record(TrajectoryState& state, const Record& record);

}  // namespace hadal::sandbox
