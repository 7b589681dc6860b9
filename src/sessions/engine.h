// A model ready to work with: weights, tokenizer and the release's sampling defaults, loaded from one checkpoint.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "model/model.h"
#include "sampling/generation_config.h"
#include "sessions/timeline.h"
#include "tokens/tokenizer.h"
#include "weights/checkpoint.h"

namespace hadal {

struct EngineOptions {
  ModelOptions model;
  std::int64_t expert_memory = ExpertPlacement::kAuto;  // bytes for routed experts, or kAll
  std::string repack_cache;                             // directory for packed weights; empty: none
  std::int64_t context_tokens = 32768;                  // kAuto leaves room for a session of so many
  bool reference = false;  // double precision instead: model.numerics.fast is ignored, the rounding switches hold
};

struct Engine {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::shared_ptr<Model> model;               // null with EngineOptions::reference
  std::shared_ptr<ReferenceModel> reference;  // null without
  std::shared_ptr<const Tokenizer> tokenizer;
  GenerationConfig generation;  // eos ids always set: generation_config.json's, else config.json's

  // Sampling as the release asks for; ids that no tokenizer entry has are forbidden.
  SamplingOptions default_sampling() const;

  static Result<Engine> open(std::shared_ptr<const Checkpoint> checkpoint, const EngineOptions& options = {});

  // An empty timeline. With the reference model only one exists at a time.
  Result<std::unique_ptr<Timeline>> new_timeline() const;
};

// The files beside the weights, as Engine::open reads them: the tokenizer, checked against the model's vocabulary, and
// the sampling defaults (those of GenerationConfig without a file).
Result<std::shared_ptr<const Tokenizer>> read_tokenizer(const Checkpoint& checkpoint);
Result<GenerationConfig> read_generation_config(const Checkpoint& checkpoint);

// Weight bytes that one decoded token reads: every dense matrix, num_experts_per_tok experts a layer, the head, one row
// of the embedding. With the time per token this gives the bandwidth a decode step reached.
std::int64_t decode_weight_bytes(const ModelWeights& weights);

// Ids below `vocab` that no answer may contain: those without bytes, and the release's placeholders for spans of other
// media (`<|place_holder_mm_span_0021|>` and so on), which models sample now and then though nothing reads them.
std::vector<IdRange> never_sampled(const Tokenizer& tokenizer, std::int32_t vocab);

}  // namespace hadal
