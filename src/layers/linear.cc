#include "layers/linear.h"

#include <algorithm>
#include <cstring>

#include "base/span.h"

namespace hadal {
namespace {

ActivationKind kind_for(const Numerics& numerics, Encoding encoding, bool rounded) {
  if (!numerics.fast) return ActivationKind::kF32;
  switch (encoding) {
    // FP8-rounded inputs are exact in bfloat16 but not in int8.
    case Encoding::kFp4:
      return rounded ? ActivationKind::kBf16 : ActivationKind::kInt8;
    case Encoding::kFp8:
      return ActivationKind::kBf16;
    case Encoding::kBf16:
    case Encoding::kF32:
      return ActivationKind::kF32;  // the official program keeps these inputs in float32
  }
  return ActivationKind::kF32;
}

}  // namespace

const Activations& Input::packed_for(const Step& step, const PackedMatrix& w, bool may_round) {
  bool quantised = w.encoding == Encoding::kFp4 || w.encoding == Encoding::kFp8;
  bool rounded = step.numerics.round_inputs && may_round && quantised;
  return pack(step, kind_for(step.numerics, w.encoding, rounded), rounded);
}

const Activations& Input::pack(const Step& step, ActivationKind kind, bool rounded) {
  Activations& form = forms_[rounded][static_cast<int>(kind)];
  if (form.data) return form;
  const float* x = x_;
  std::int64_t stride = stride_;
  const std::int32_t* tokens = tokens_;
  if (rounded) {
    if (!rounded_) {
      float* copy = step.workspace.take<float>(count_ * cols_);
      step.parallel(count_, count_ * cols_, [&](std::int64_t t, int) {
        const float* row = x_ + (tokens_ ? tokens_[t] : t) * stride_;
        std::memcpy(copy + t * cols_, row, static_cast<std::size_t>(cols_) * sizeof(float));
        step.kernels.round_fp8(copy + t * cols_, cols_, 128);
      });
      rounded_ = copy;
    }
    x = rounded_;
    stride = cols_;
    tokens = nullptr;
  }
  std::byte* out = step.workspace.take<std::byte>(activation_bytes(kind, count_, cols_));
  std::int64_t groups = ceil_div(count_, kTokenGroup);
  std::int64_t group_bytes = activation_bytes(kind, kTokenGroup, cols_);
  step.parallel(groups, count_ * cols_, [&](std::int64_t g, int) {
    std::int64_t first = g * kTokenGroup, n = std::min<std::int64_t>(kTokenGroup, count_ - first);
    step.kernels.pack_activations(kind, tokens ? x : x + first * stride, stride, tokens ? tokens + first : nullptr, n,
                                  cols_, out + g * group_bytes);
  });
  form = {kind, count_, round_up(cols_, kColumnPad), out};
  return form;
}

void multiply(const Step& step, std::span<const Product> products) {
  struct Job {
    const Product* product;
    const Activations* x;
    std::int64_t tiles_per_task, first_task;
  };
  Job* jobs = step.workspace.take<Job>(static_cast<std::int64_t>(products.size()));
  std::int64_t tasks = 0, work = 0, used = 0;
  for (const Product& p : products) {
    if (p.x->count() == 0 || p.w->rows == 0) continue;
    // Four tasks per thread and product even out uneven cores; a task keeps whole 16-row tiles, so results do not
    // depend on it.
    std::int64_t per_task = std::max<std::int64_t>(1, p.w->tile_count() / (4 * step.pool.size()));
    jobs[used++] = {&p, &p.x->packed_for(step, *p.w, p.may_round), per_task, tasks};
    tasks += ceil_div(p.w->tile_count(), per_task);
    work += p.w->rows * p.w->cols * p.x->count();
  }
  step.parallel(tasks, work / 16, [&](std::int64_t task, int) {
    std::int64_t j = 0;
    while (j + 1 < used && jobs[j + 1].first_task <= task) ++j;
    const Product& p = *jobs[j].product;
    std::int64_t begin = (task - jobs[j].first_task) * jobs[j].tiles_per_task;
    std::int64_t end = std::min(begin + jobs[j].tiles_per_task, p.w->tile_count());
    step.kernels.matmul(*p.w, begin, end, *jobs[j].x, p.y, p.y_stride);
  });
}

}  // namespace hadal
