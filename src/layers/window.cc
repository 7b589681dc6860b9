#include "layers/window.h"

#include <algorithm>
#include <cstring>

#include "base/span.h"

namespace hadal {

std::int64_t RowList::capacity(std::int64_t window, std::int64_t entries) {
  return round_up(window, kAttendBlock) + kAttendBlock + round_up(entries, kAttendBlock);
}

void RowList::add_window(Position query) {
  std::int64_t window = step_.config.sliding_window;
  Position first = std::max<Position>(0, query - window + 1);
  for (Position p = first / kAttendBlock * kAttendBlock; p < first; ++p) slots_[size_++] = nullptr;
  for (Position p = first; p <= query; ++p)
    slots_[size_++] =
        p >= step_.start ? own_.rows + (p - step_.start) * own_.row_bytes : state_.window + p % window * own_.row_bytes;
  pad();
}

void RowList::add_entries(std::int64_t count) {
  const PagedRows& rows = state_.rows;
  for (std::int64_t page = 0, i = 0; i < count; ++page) {
    const std::byte* base = rows.page(page);
    std::int64_t end = std::min(count, i + rows.rows_per_page);
    for (; i < end; ++i, base += rows.row_bytes) slots_[size_++] = base;
  }
  pad();
}

void RowList::add_entries(const std::int32_t* picked, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) slots_[size_++] = state_.rows.row(picked[i]);
  pad();
}

void RowList::pad() {
  while (size_ % kAttendBlock) slots_[size_++] = nullptr;
}

void remember_window(const SequenceStep& step, const StepRows& own, const LayerState& state) {
  std::int64_t window = step.config.sliding_window;
  for (std::int64_t t = std::max<std::int64_t>(0, step.count() - window); t < step.count(); ++t)
    std::memcpy(state.window + (step.start + t) % window * own.row_bytes, own.rows + t * own.row_bytes,
                static_cast<std::size_t>(own.row_bytes));
}

}  // namespace hadal
