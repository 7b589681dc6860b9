// Where a layer's memory of the past lives. Views: the owner is cache/sequence.h. Spec 9.1, report figure 6.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "kernels/kernels.h"
#include "layers/step.h"

namespace hadal {

// How attention rows and index keys are stored: packed as trained, or float32 (exact numerics, where rounding is
// optional).
struct RowFormat {
  RowShape shape;  // attention rows
  int index_dim = 0;
  bool packed = true;

  std::int64_t row_bytes() const { return packed ? shape.packed_bytes() : std::int64_t{4} * shape.head_dim; }
  // One index key: dim/2 bytes of E2M1 and dim/32 scales when packed (68 bytes at 128), else floats.
  std::int64_t key_bytes() const { return packed ? index_dim / 2 + index_dim / 32 : std::int64_t{4} * index_dim; }
};
RowFormat row_format(const ModelConfig& config, const Numerics& numerics);

// Index keys come in tiles of 16 (kernels.h); a page holds whole tiles.
constexpr std::int64_t kKeyTile = 16;

// Rows spread over pages: row i lives in page i / rows_per_page.
struct PagedRows {
  std::byte* const* pages = nullptr;
  std::int64_t offset = 0;  // of this layer's first row in a page
  std::int64_t rows_per_page = 0;
  std::int64_t row_bytes = 0;

  std::byte* row(std::int64_t i) const { return pages[i / rows_per_page] + offset + i % rows_per_page * row_bytes; }
  std::byte* page(std::int64_t p) const { return pages[p] + offset; }
};

struct LayerState {
  std::byte* window = nullptr;  // [W] rows; position p in slot p mod W
  PagedRows rows;               // compressed entries (CSA, HCA)
  // Compressor inputs of the open window and, for CSA, of the window before it: position p in slot p mod (k*ratio),
  // each slot [2][k*hd] floats: c, then z with the position bias added.
  float* tail = nullptr;
  PagedRows keys;  // index keys (CSA); row_bytes = key_bytes, tiles of 16 inside a page
  float* index_tail = nullptr;
};

struct SequenceState {
  Position length = 0;  // tokens already fed
  // Entries of windows that end at or before this position are already in the pages and must not be rewritten: set
  // while a rewind refills windows and tails by feeding old tokens again (cache/rewind.cc).
  Position frozen = 0;
  std::vector<LayerState> layers;  // main layers, then the MTP block if the model has one
  float* last_streams =
      nullptr;  // [n*d] streams of the last token, the MTP block's input for the position still waiting
};

// Tokens [first, first + count) of a step continue this sequence, from position state->length on.
struct StepPiece {
  SequenceState* state = nullptr;
  std::int64_t first = 0, count = 0;

  SequenceStep of(const Step& step) const {
    Step own = step;
    own.ids = step.ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    return {own, state->length};
  }
};

}  // namespace hadal
