// Random checkpoints in the release layout: weights without meaning, of the right shapes, number formats and spread.
// For benchmarks on machines that hold no release, and for tests.
#pragma once

#include <functional>
#include <string>

#include "weights/tensor_table.h"

namespace hadal {

// How the elements of a tensor are distributed so that a forward pass stays of unit size and every branch matters:
// sinks, biases and hyper-connections are all non-trivial.
struct Spread {
  double mean = 0, deviation = 0;
};
Spread random_spread(const TensorSpec& spec);

struct RandomCheckpointOptions {
  std::uint64_t seed = 1;                               // the same seed gives the same bytes, whatever the thread count
  std::int64_t shard_bytes = std::int64_t{3500} << 20;  // as the releases cut theirs; a shard is held in memory
  bool with_mtp = true;
  // Called after every shard with bytes written so far and in all; false stops and leaves no index behind.
  std::function<bool(std::int64_t done, std::int64_t all)> progress;
};

// Writes config.json, generation_config.json, shards and their index into `directory`, which must not hold a checkpoint
// yet. Storage is the release's: FP8 with power-of-two scales per 128 x 128, experts FP4 with a scale per 32.
// Errors: kUsage when the directory already has a config.json; kIo; kCancelled.
Status write_random_checkpoint(const ModelConfig& config, const std::string& directory,
                               const RandomCheckpointOptions& options);

// config.json of a model in the release's keys; parse_config reads it back.
std::string config_text(const ModelConfig& config);

}  // namespace hadal
