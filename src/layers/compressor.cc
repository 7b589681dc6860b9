#include "layers/compressor.h"

#include <algorithm>
#include <cstring>

namespace hadal {

CompressorInput compressor_input(const Step& step, const CompressorWeights& weights) {
  std::int64_t width = weights.wkv.rows;
  return {step.workspace.take<float>(step.count() * width), step.workspace.take<float>(step.count() * width), width};
}

namespace detail {

void add_position_bias(const SequenceStep& step, const CompressorWeights& weights, const CompressorShape& shape,
                       const CompressorInput& input) {
  step.parallel(step.count(), step.count() * input.width, [&](std::int64_t t, int) {
    const float* ape = weights.ape + (step.start + t) % shape.ratio * input.width;
    step.kernels.axpy(1.0f, ape, input.width, input.z + t * input.width);
  });
}

void pool_window(const SequenceStep& step, const CompressorWeights&, const CompressorShape& shape,
                 const CompressorInput& input, const float* tail, std::int64_t entry, float* out) {
  constexpr int kMost = 1024;  // members of one window: config.cc bounds ratios
  const float* values[kMost];
  const float* gates[kMost];
  int members = 0;
  std::int64_t hd = shape.head_dim, width = input.width, slots = shape.tail_slots();
  auto add = [&](Position p, std::int64_t half) {
    if (p >= step.start) {
      values[members] = input.c + (p - step.start) * width + half * hd;
      gates[members] = input.z + (p - step.start) * width + half * hd;
    } else {
      const float* slot = tail + p % slots * 2 * width;
      values[members] = slot + half * hd;
      gates[members] = slot + width + half * hd;
    }
    ++members;
  };
  Position begin = entry * shape.ratio;
  if (shape.halves() == 2 && entry > 0)
    for (std::int64_t j = 0; j < shape.ratio; ++j)
      add(begin - shape.ratio + j, 0);  // the previous window's first halves
  for (std::int64_t j = 0; j < shape.ratio; ++j) add(begin + j, shape.halves() - 1);
  step.kernels.pool(values, gates, members, hd, out);
}

void remember(const SequenceStep& step, const CompressorShape& shape, const CompressorInput& input, float* tail) {
  std::int64_t slots = shape.tail_slots(), width = input.width;
  auto bytes = static_cast<std::size_t>(width) * sizeof(float);
  for (std::int64_t t = std::max<std::int64_t>(0, step.count() - slots); t < step.count(); ++t) {
    float* slot = tail + (step.start + t) % slots * 2 * width;
    std::memcpy(slot, input.c + t * width, bytes);
    std::memcpy(slot + width, input.z + t * width, bytes);
  }
}

}  // namespace detail
}  // namespace hadal
