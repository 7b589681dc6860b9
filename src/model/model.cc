#include "model/model.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "layers/draft.h"
#include "layers/experts.h"
#include "model/forward.h"

namespace hadal {

Model::Model(ModelWeights weights, const ModelOptions& options)
    : weights_(std::move(weights)),
      numerics_(options.numerics),
      format_(row_format(weights_.config, options.numerics)),
      pool_(std::make_unique<ThreadPool>(options.threads)) {
  tables_.plain = options.plain_frequencies.empty() ? plain_frequencies(weights_.config) : options.plain_frequencies;
  tables_.compressed =
      options.compressed_frequencies.empty() ? compressed_frequencies(weights_.config) : options.compressed_frequencies;
}

Result<std::shared_ptr<Model>> Model::create(ModelWeights weights, ModelOptions options) {
  auto pairs = static_cast<std::size_t>(weights.config.qk_rope_head_dim / 2);
  for (const auto* table : {&options.plain_frequencies, &options.compressed_frequencies})
    if (!table->empty() && table->size() != pairs)
      return fail(ErrorCode::kUsage, "frequency table has {} entries, the model rotates {} pairs", table->size(),
                  pairs);
  return std::shared_ptr<Model>(new Model(std::move(weights), options));
}

std::int64_t Model::preferred_step() const {
  const ExpertStore* store = weights_.expert_store();
  return store ? hadal::preferred_step(config(), store->memory_bytes()) : hadal::preferred_step(config());
}

Status Model::feed(SequenceState& state, std::span<const TokenId> ids, const FeedOutputs& outputs) {
  const ModelConfig& c = config();
  if (ids.empty()) return {};
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (to_int(ids[i]) < 0 || to_int(ids[i]) >= c.vocab_size)
      return fail(ErrorCode::kUsage, "token id {} at position {} is outside the vocabulary of {}", to_int(ids[i]),
                  state.length + static_cast<Position>(i), c.vocab_size);
  auto count = static_cast<std::int64_t>(ids.size());
  if (state.length + count > c.max_position_embeddings)
    return fail(ErrorCode::kUsage,
                "{} tokens exceed the model's context of {}; shorten the input or start a new session",
                state.length + count, c.max_position_embeddings);
  bool want_mtp = outputs.mtp_logits || outputs.advance_mtp;
  if (want_mtp && !weights_.mtp)
    return fail(ErrorCode::kUnsupported, "this checkpoint has no one-step MTP block, so there are no MTP logits");

  std::int64_t n = c.hc_mult, d = c.hidden_size, width = n * d, L = c.num_hidden_layers;
  try {
    workspace_.reset();
    Step step{c, kernels(), *pool_, workspace_, numerics_, ids, state.length};
    FlushDenormals flush;
    if (ExpertStore* store = weights_.expert_store()) {
      HADAL_CHECK_OK(store->begin_step(count));
      prefetch_hashed(step, weights_.layers);
    }
    // One row in front holds the previous step's last streams: the MTP block lags one token behind.
    float* lagging = workspace_.take<float>((count + 1) * width);
    float* streams = lagging + width;
    embed(step, weights_, streams);
    for (std::int64_t l = 0; l < L; ++l)
      HADAL_CHECK_OK(block(step, weights_.layers[static_cast<std::size_t>(l)], l, tables_, format_, state, streams));

    if (outputs.all_logits)
      read_out(step, weights_.hc_head, weights_.norm, weights_.head, streams, count, outputs.all_logits);
    if (outputs.last_logits)
      read_out(step, weights_.hc_head, weights_.norm, weights_.head, streams + (count - 1) * width, 1,
               outputs.last_logits);

    if (want_mtp) {
      bool first = state.length == 0;
      std::span<const TokenId> next = first ? ids.subspan(1) : ids;
      if (!first) std::memcpy(lagging, state.last_streams, static_cast<std::size_t>(width) * sizeof(float));
      if (!next.empty()) {
        Step draft{c, kernels(), *pool_, workspace_, numerics_, next, first ? 0 : state.length - 1};
        float* x = workspace_.take<float>(draft.count() * width);
        draft_input(draft, *weights_.mtp, weights_.embed, first ? streams : lagging, x);
        HADAL_CHECK_OK(block(draft, weights_.mtp->block, L, tables_, format_, state, x));
        if (outputs.mtp_logits)
          read_out(draft, weights_.mtp->hc_head, weights_.mtp->norm, weights_.head, x, draft.count(),
                   outputs.mtp_logits);
      }
    }
    if (state.last_streams)
      std::memcpy(state.last_streams, streams + (count - 1) * width, static_cast<std::size_t>(width) * sizeof(float));
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kNoMemory, "no memory for the scratch of a step of {} tokens; feed fewer at once", count);
  }
  state.length += count;
  return {};
}

}  // namespace hadal
