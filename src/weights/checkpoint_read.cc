// Reading values: the exact meaning of stored bytes, in double precision. The packed form (pack.h) is tested against
// this.
#include <cmath>
#include <cstring>

#include "numbers/bf16.h"
#include "numbers/e2m1.h"
#include "numbers/e4m3.h"
#include "numbers/e8m0.h"
#include "weights/checkpoint.h"

namespace hadal {
namespace {

template <class T>
T load(Bytes data, std::int64_t index) {
  T v;  // tensors need not be aligned in the file
  std::memcpy(&v, data.data() + static_cast<std::size_t>(index) * sizeof(T), sizeof(T));
  return v;
}

// One element as stored, scales not applied; NaN where the stored code is not a finite number.
double element(DType dtype, Bytes data, std::int64_t i) {
  switch (dtype) {
    case DType::kE4M3:
      return e4m3_to_float(load<std::uint8_t>(data, i));
    case DType::kE8M0:
      return e8m0_to_float(load<std::uint8_t>(data, i));
    case DType::kBF16:
      return bf16_to_float(load<std::uint16_t>(data, i));
    case DType::kF32:
      return load<float>(data, i);
    case DType::kI64:
      return static_cast<double>(load<std::int64_t>(data, i));
    case DType::kI8:
      return e2m1_to_float(
          static_cast<std::uint8_t>(load<std::uint8_t>(data, i / 2) >> (i % 2 * 4)));  // two codes a byte
    default:
      return std::nan("");
  }
}

}  // namespace

Result<std::vector<double>> Checkpoint::dequantise(std::string_view name) const {
  const TensorSpec* spec = table_.find(name);
  if (!spec)
    return fail(ErrorCode::kNotFound, "{}: '{}' is not a tensor of this model", directory(), name.substr(0, 120));
  return dequantise(*spec);
}

Result<std::vector<double>> Checkpoint::dequantise(const TensorSpec& spec) const {
  const StoredTensor* weight = HADAL_TRY(find(spec.name));
  const auto form = stored_form(spec, weight->dtype, config_.weight_block_size);
  const StoredTensor* scale = form && form->has_scale ? HADAL_TRY(find(spec.scale_name())) : nullptr;
  const std::string where = fmt::format("{}/{}", directory(), shards_[weight->shard].file);
  if (!form || form->shape != weight->shape || (scale && scale->shape != form->scale_shape))
    return fail(ErrorCode::kBadInput, "{}: tensor '{}' does not have the stored form of the tensor table", where,
                spec.name);
  if (weight->data.size() != weight->bytes || (scale && scale->data.size() != scale->bytes))
    return fail(ErrorCode::kBadInput, "{}: the data of tensor '{}' is cut off; fetch the file again", where, spec.name);

  const std::int64_t rows = spec.rows(), cols = spec.cols();
  const std::int64_t block_rows = weight->dtype == DType::kI8 ? 1 : config_.weight_block_size;
  const std::int64_t block_cols = weight->dtype == DType::kI8 ? 32 : config_.weight_block_size;
  const std::int64_t experts = spec.role == Role::kGateTid2eid ? config_.n_routed_experts : 0;
  std::vector<double> out(static_cast<std::size_t>(spec.elements()));
  std::vector<double> scales(static_cast<std::size_t>(scale ? ceil_div(cols, block_cols) : 0));
  for (std::int64_t r = 0; r < rows; ++r) {
    // A row of an FP4 matrix is a whole number of bytes, since its stored width is cols/2.
    if (scale && r % block_rows == 0)
      for (std::size_t b = 0; b < scales.size(); ++b) {
        scales[b] = element(scale->dtype, scale->data,
                            r / block_rows * static_cast<std::int64_t>(scales.size()) + static_cast<std::int64_t>(b));
        if (!std::isfinite(scales[b]))
          return fail(
              ErrorCode::kBadInput,
              "{}: scale of tensor '{}' is not a finite number at row block {}, column block {}; fetch the file again",
              where, spec.name, r / block_rows, b);
      }
    for (std::int64_t c = 0; c < cols; ++c) {
      double v = element(weight->dtype, weight->data, r * cols + c);
      if (!std::isfinite(v))
        return fail(ErrorCode::kBadInput,
                    "{}: tensor '{}' is not a finite number at row {}, column {}; fetch the file again", where,
                    spec.name, r, c);
      if (experts > 0 && (v < 0 || v >= static_cast<double>(experts)))
        return fail(ErrorCode::kBadInput, "{}: tensor '{}' sends token {} to expert {}, there are {}", where, spec.name,
                    r, v, experts);
      if (scale) v *= scales[static_cast<std::size_t>(c / block_cols)];
      out[static_cast<std::size_t>(r * cols + c)] = v;
    }
  }
  return out;
}

Result<std::vector<double>> Checkpoint::values(std::string_view name) const {
  const TensorSpec* spec = table_.find(name);
  if (!spec)
    return fail(ErrorCode::kNotFound, "{}: '{}' is not a tensor of this model", directory(), name.substr(0, 120));
  const StoredTensor* weight = HADAL_TRY(find(spec->name));
  const auto form = stored_form(*spec, weight->dtype, config_.weight_block_size);
  if (form && form->has_scale)
    return fail(ErrorCode::kUsage, "{}: tensor '{}' has a scale, ask for its dequantised values", directory(), name);
  return dequantise(*spec);
}

}  // namespace hadal
