// How long a model's tokens take here, from timing a few of its layers with made-up weights (trial_weights.h): the
// engine's own code on its own shapes, so that products, attention, the indexer, small operators and the threads'
// meetings are all in it, each at the rate this machine gives.
//
// A decoded token costs, for every layer, what a layer of its kind took at that depth, and the embedding and the head.
// A token of a prompt costs its share of one piece of a prompt, with as many tokens to an expert as a full piece has,
// and what attention takes more at that depth than at the beginning.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "plan/engine_memory.h"

namespace hadal {

class LayerTrial {
 public:
  // Takes memory for some layers, about half a gigabyte for Flash, at most `most_bytes`; kNoMemory otherwise.
  // `deepest` is the longest context that will be asked for.
  static Result<std::unique_ptr<LayerTrial>> create(const ModelConfig& config, const TensorTable& table,
                                                    const DTypeOf& dtype_of, int threads, std::int64_t deepest,
                                                    std::int64_t most_bytes);
  virtual ~LayerTrial() = default;

  virtual std::int64_t bytes() const = 0;
  virtual std::int64_t layer_count() const = 0;  // timed

  // Seconds of one token at `depth` tokens of context, measured for about `seconds`, three tokens at least.
  virtual double decode_seconds(std::int64_t depth, double seconds) = 0;
  // Seconds a token of a prompt whose pieces have the engine's preferred size.
  virtual double prefill_seconds(std::int64_t depth, double seconds) = 0;
};

}  // namespace hadal
