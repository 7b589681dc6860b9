// The rows one query attends to, as a list of pointers (spec 4.3): the sliding window first, then compressed entries.
//
// Blocks of kAttendBlock list slots are the unit of the softmax's running maximum, so a slot must not depend on how a
// prompt was chunked: window rows sit at their absolute position modulo kAttendBlock, entries at their index; unused
// slots are null (masked).
#pragma once

#include "layers/state.h"

namespace hadal {

// The step's own window rows, before they enter the ring.
struct StepRows {
  std::byte* rows = nullptr;  // [count][row_bytes]
  std::int64_t row_bytes = 0;
};

class RowList {
 public:
  // Slots that any query needs at most, for `entries` compressed rows.
  static std::int64_t capacity(std::int64_t window, std::int64_t entries);

  RowList(const std::byte** slots, const SequenceStep& step, const LayerState& state, const StepRows& own)
      : slots_(slots), step_(step), state_(state), own_(own) {}

  void clear() { size_ = 0; }
  void add_window(Position query);                                   // positions max(0, query-W+1) .. query
  void add_entries(std::int64_t count);                              // entries 0 .. count-1
  void add_entries(const std::int32_t* picked, std::int64_t count);  // chosen entries, ascending
  void pad();                                                        // to a whole block

  const std::byte* const* slots() const { return slots_; }
  std::int64_t size() const { return size_; }

 private:
  const std::byte** slots_;
  const SequenceStep& step_;
  const LayerState& state_;
  const StepRows& own_;
  std::int64_t size_ = 0;
};

// Moves the step's last W rows into the ring. Call after the last query of the step has been answered.
void remember_window(const SequenceStep& step, const StepRows& own, const LayerState& state);

}  // namespace hadal
