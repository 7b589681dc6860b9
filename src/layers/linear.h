// Matrix products of a step. An input is packed once per form its consumers read; products that share a moment run as
// one parallel loop over all their tiles.
#pragma once

#include <initializer_list>
#include <span>

#include "layers/step.h"
#include "weights/packed_matrix.h"

namespace hadal {

// Rows of activations and their packed forms. Views into the step's workspace.
class Input {
 public:
  // x [count][stride >= cols] floats. `tokens` (may be null) picks rows by index: then count is the number of picks.
  Input(const float* x, std::int64_t stride, std::int64_t count, std::int64_t cols,
        const std::int32_t* tokens = nullptr)
      : x_(x), stride_(stride), count_(count), cols_(cols), tokens_(tokens) {}

  std::int64_t count() const { return count_; }
  std::int64_t cols() const { return cols_; }

  // The form `w` multiplies with under the step's numerics; packed on first request.
  // `may_round` is false for wo_a, whose input the official program never quantises.
  const Activations& packed_for(const Step& step, const PackedMatrix& w, bool may_round = true);

 private:
  const Activations& pack(const Step& step, ActivationKind kind, bool rounded);

  const float* x_;
  std::int64_t stride_, count_, cols_;
  const std::int32_t* tokens_;
  const float* rounded_ = nullptr;
  Activations forms_[2][3];  // [rounded][kind]
};

struct Product {
  const PackedMatrix* w;
  Input* x;
  float* y;  // [x->count()][y_stride]
  std::int64_t y_stride;
  bool may_round = true;
};

void multiply(const Step& step, std::span<const Product> products);
inline void multiply(const Step& step, std::initializer_list<Product> products) {
  multiply(step, std::span<const Product>(products.begin(), products.size()));
}

}  // namespace hadal
