#include "weights/stored_matrix.h"

namespace hadal {

StoredMatrix stored_matrix(const Checkpoint& checkpoint, const TensorSpec& spec) {
  const StoredTensor& weight = *checkpoint.find(spec.name).value();
  StoredMatrix m;
  m.dtype = weight.dtype;
  m.data = weight.data;
  m.rows = spec.rows();
  m.cols = spec.cols();
  m.block = checkpoint.config().weight_block_size;
  const auto form = stored_form(spec, weight.dtype, m.block);
  if (form && form->has_scale) {
    const StoredTensor& scale = *checkpoint.find(spec.scale_name()).value();
    m.scale_dtype = scale.dtype;
    m.scales = scale.data;
  }
  return m;
}

Error pack_fault_error(const Checkpoint& checkpoint, const TensorSpec& spec, const PackFault& fault) {
  const StoredTensor& stored = *checkpoint.find(spec.name).value();
  return {ErrorCode::kBadInput,
          fmt::format("{}/{}: {} '{}' is not a finite number at row {}, column {}; fetch the file again",
                      checkpoint.directory(), checkpoint.shards()[stored.shard].file,
                      fault.in_scale ? "scale of tensor" : "tensor", spec.name, fault.row, fault.col)};
}

}  // namespace hadal
