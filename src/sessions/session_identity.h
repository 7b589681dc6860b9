// The identity of what is running, to compare with a session's.
#pragma once

#include "base/result.h"
#include "sessions/engine.h"
#include "sessions/log_records.h"

namespace hadal {

// From a checkpoint, before or without loading its weights. Fails when it has no tokenizer.json.
Result<SessionIdentity> session_identity(const Checkpoint& checkpoint, const Numerics& numerics,
                                         bool reference = false);
// Of a loaded engine. Its fingerprint was taken when the weights were loaded.
Result<SessionIdentity> session_identity(const Engine& engine, const Numerics& numerics);

// Name of the first field in which they differ, for messages; empty when equal.
std::string_view first_difference(const SessionIdentity& a, const SessionIdentity& b);

}  // namespace hadal
