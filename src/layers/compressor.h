// The compressor (spec 5.1): every `ratio` tokens become one entry, a per-channel softmax pool of projections. Ratio 4
// overlaps: an entry pools its own window's second halves and the previous window's first halves.
#pragma once

#include "layers/linear.h"
#include "layers/rotary.h"
#include "layers/state.h"
#include "weights/model_weights.h"

namespace hadal {

// The projections of a step's tokens: c [count][k*hd] and z [count][k*hd]. `multiply` fills them with the layer's other
// products.
struct CompressorInput {
  float* c = nullptr;
  float* z = nullptr;
  std::int64_t width = 0;  // k*hd

  // The same from token `first` of the step on.
  CompressorInput from(std::int64_t first) const { return {c + first * width, z + first * width, width}; }
};
CompressorInput compressor_input(const Step& step, const CompressorWeights& weights);

// Geometry of one compressor.
struct CompressorShape {
  std::int64_t ratio = 0;
  std::int64_t head_dim = 0;                                    // hd
  std::int64_t halves() const { return ratio == 4 ? 2 : 1; }    // k; overlap is tied to the value 4 (spec 1.2)
  std::int64_t tail_slots() const { return halves() * ratio; }  // positions the tail ring remembers
  std::int64_t tail_floats() const { return tail_slots() * 2 * halves() * head_dim; }
};

// Closes the windows that end inside this step: entries (pooled, normalised, rotated to the window's first position) go
// to `write(entry_index, values [hd])`, which may run on any thread; entries of frozen windows are not produced. Then
// remembers in `tail` what later steps need. Adds the position bias to input.z in place.
template <class Write>
void compress(const SequenceStep& step, const CompressorWeights& weights, const CompressorShape& shape,
              const CompressorInput& input, const std::vector<float>& frequencies, Position frozen, float* tail,
              Write&& write);

namespace detail {
void add_position_bias(const SequenceStep& step, const CompressorWeights& weights, const CompressorShape& shape,
                       const CompressorInput& input);
void pool_window(const SequenceStep& step, const CompressorWeights& weights, const CompressorShape& shape,
                 const CompressorInput& input, const float* tail, std::int64_t entry, float* out);
void remember(const SequenceStep& step, const CompressorShape& shape, const CompressorInput& input, float* tail);
}  // namespace detail

template <class Write>
void compress(const SequenceStep& step, const CompressorWeights& weights, const CompressorShape& shape,
              const CompressorInput& input, const std::vector<float>& frequencies, Position frozen, float* tail,
              Write&& write) {
  detail::add_position_bias(step, weights, shape, input);
  Position end = step.start + step.count();
  std::int64_t first = std::max(step.start, frozen) / shape.ratio,
               last = end / shape.ratio;  // entries [first, last) close here
  if (first < last) {
    std::int64_t n = last - first;
    Rotation rotation = rotation_rows(step, frequencies, first * shape.ratio, shape.ratio, n);
    float* entries = step.workspace.take<float>(n * shape.head_dim);
    step.parallel(n, n * shape.ratio * shape.head_dim * 8, [&](std::int64_t i, int) {
      float* entry = entries + i * shape.head_dim;
      detail::pool_window(step, weights, shape, input, tail, first + i, entry);
      step.kernels.rms_norm(entry, weights.norm, shape.head_dim, static_cast<float>(step.config.rms_norm_eps), entry);
      rotate(step, rotation, (first + i) * shape.ratio, entry, shape.head_dim);
      write(first + i, entry);
    });
  }
  detail::remember(step, shape, input, tail);
}

}  // namespace hadal
