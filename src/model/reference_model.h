// The definition: DeepSeek-V4 in double precision, written to be read next to the specification and fast enough for
// tests
// (--numerics reference). The float32 engine (model/model.h) is measured against it.
//
// Reading order: reference_model.cc (the stack), reference_block.cc (hyper-connections, experts),
// reference_attention.cc (attention, compression, indexer), reference_math.cc (norms, rotation, products).
//
// Weights are dequantised once into doubles, eight bytes a parameter; state is plain vectors. The same tokens give the
// same bits however they are cut into feeds and whatever the thread count, on one machine; across machines the C
// library's exp, log, sin and cos may differ in the last bit.
//
// Threads are std::thread rather than machine/thread_pool.h: that pool flushes denormals to zero, for doubles too,
// which suits the float32 kernels and would make the definition depend on the processor's mode.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/reference_block.h"
#include "model/reference_weights.h"

namespace hadal {

struct ReferenceOptions {
  bool round_cache = true;    // regimes kvq and full: FP8 attention entries, Hadamard + FP4 index queries and keys
  bool round_inputs = false;  // regime full: FP8 inputs of FP8 and FP4 products
  bool mtp = false;           // load and run the MTP block
  int threads = 0;            // 0: one per core this process may use
  // Replace the computed frequency tables, [rd/2] each; both or none.
  std::vector<float> plain_frequencies = {}, compressed_frequencies = {};
};

struct ReferenceLogits {
  std::vector<double> main;  // [ids.size()][vocab]
  // MTP logits, [rows][vocab]. Row i of a sequence needs token i+1, so a feed at position p0 gives rows p0-1 .. p0+n-2:
  // n rows, or n-1 when p0 is 0. Empty without ReferenceOptions::mtp.
  std::vector<double> mtp;
};

// What one layer did with the tokens of a feed, for comparisons layer by layer.
struct ReferenceTrace {
  std::vector<reference::Vector> streams;           // [T] of [n*d], after the layer
  std::vector<std::vector<std::int64_t>> selected;  // [T], ascending; CSA layers only
};

class ReferenceModel {
 public:
  // kNoMemory when the weights as doubles would not fit, before anything is read.
  static Result<ReferenceModel> load(const Checkpoint& checkpoint, ReferenceOptions options);

  const ModelConfig& config() const { return setting_.config; }
  Position length() const { return length_; }

  // Appends tokens. On error nothing changes, except that kNoMemory forgets all tokens. `trace`, if given, receives one
  // element per main layer.
  Result<ReferenceLogits> feed(std::span<const TokenId> ids, std::vector<ReferenceTrace>* trace = nullptr);

  // Forgets all tokens.
  void reset();

  // Compressed entries and index keys of a layer so far.
  const reference::LayerState& state(std::int64_t layer) const { return layers_[static_cast<std::size_t>(layer)]; }

 private:
  ReferenceModel() = default;
  using Streams = std::vector<reference::Vector>;  // one X per token
  ReferenceLogits step(std::span<const TokenId> ids, std::vector<ReferenceTrace>* trace);
  void block(const reference::Block& weights, std::int64_t layer, std::span<const TokenId> ids, Position start,
             Streams& X, ReferenceTrace* trace);
  std::vector<double> read_out(const reference::ReadOut& weights, const Streams& X) const;
  Streams draft_input(const Streams& S, std::span<const TokenId> next) const;

  reference::Setting setting_;
  reference::Weights weights_;
  int threads_ = 1;
  Position length_ = 0;
  std::vector<reference::LayerState> layers_;  // main layers, then the MTP block
  reference::Vector last_streams_;             // of the last token, for the MTP row that waits for the next one
};

}  // namespace hadal
