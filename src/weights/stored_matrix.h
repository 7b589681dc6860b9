// A matrix of the table as the checkpoint stores it, for packing; and what to say when packing meets a bad value.
#pragma once

#include "weights/checkpoint.h"
#include "weights/pack.h"

namespace hadal {

// `spec` is a matrix of a checkpoint without problems(). The views are of the mapped shard.
StoredMatrix stored_matrix(const Checkpoint& checkpoint, const TensorSpec& spec);

// kBadInput, naming file, tensor, row and column.
Error pack_fault_error(const Checkpoint& checkpoint, const TensorSpec& spec, const PackFault& fault);

}  // namespace hadal
