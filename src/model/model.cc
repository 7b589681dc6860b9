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

Status Model::check(const Part& part) const {
  const ModelConfig& c = config();
  const Position length = part.state->length;
  for (std::size_t i = 0; i < part.ids.size(); ++i)
    if (to_int(part.ids[i]) < 0 || to_int(part.ids[i]) >= c.vocab_size)
      return fail(ErrorCode::kUsage, "token id {} at position {} is outside the vocabulary of {}", to_int(part.ids[i]),
                  length + static_cast<Position>(i), c.vocab_size);
  auto count = static_cast<std::int64_t>(part.ids.size());
  if (length + count > c.max_position_embeddings)
    return fail(ErrorCode::kUsage,
                "{} tokens exceed the model's context of {}; shorten the input or start a new session", length + count,
                c.max_position_embeddings);
  if ((part.outputs.mtp_logits || part.outputs.advance_mtp) && !weights_.mtp)
    return fail(ErrorCode::kUnsupported, "this checkpoint has no one-step MTP block, so there are no MTP logits");
  return {};
}

Status Model::feed(std::span<const Part> parts) {
  std::int64_t count = 0;
  for (const Part& part : parts) {
    HADAL_CHECK_OK(check(part));
    if (part.ids.empty() && parts.size() > 1)
      return fail(ErrorCode::kInternal, "a step of several sequences has a part without tokens");
    if ((part.outputs.mtp_logits || part.outputs.advance_mtp) && parts.size() > 1)
      return fail(ErrorCode::kUnsupported, "the MTP block runs in steps of one sequence only");
    count += static_cast<std::int64_t>(part.ids.size());
  }
  if (count == 0) return {};
  const ModelConfig& c = config();
  const std::int64_t n = c.hc_mult, d = c.hidden_size, width = n * d;
  const FeedOutputs& first = parts.front().outputs;
  try {
    workspace_.reset();
    std::span<const TokenId> ids = parts.front().ids;
    auto* pieces = workspace_.take<StepPiece>(static_cast<std::int64_t>(parts.size()));
    if (parts.size() > 1) {
      auto* all = workspace_.take<TokenId>(count);
      ids = {all, static_cast<std::size_t>(count)};
      for (const Part& part : parts) all = std::copy(part.ids.begin(), part.ids.end(), all);
    }
    for (std::int64_t i = 0, at = 0; i < static_cast<std::int64_t>(parts.size()); ++i) {
      const Part& part = parts[static_cast<std::size_t>(i)];
      pieces[i] = {part.state, at, static_cast<std::int64_t>(part.ids.size())};
      at += pieces[i].count;
    }
    const std::span<const StepPiece> all_pieces(pieces, parts.size());
    Step step{c, kernels(), *pool_, workspace_, numerics_, ids};
    FlushDenormals flush;
    if (ExpertStore* store = weights_.expert_store()) {
      store->begin_step(count);
      prefetch_hashed(step, weights_.layers);
    }
    // One row in front holds the previous step's last streams: the MTP block lags one token behind.
    float* lagging = workspace_.take<float>((count + 1) * width);
    float* streams = lagging + width;
    HADAL_CHECK_OK(embed(step, weights_, streams));
    for (std::int64_t l = 0; l < c.num_hidden_layers; ++l)
      HADAL_CHECK_OK(
          block(step, weights_.layers[static_cast<std::size_t>(l)], l, tables_, format_, all_pieces, streams));
    write_logits(step, parts, all_pieces, streams);
    if (first.mtp_logits || first.advance_mtp) HADAL_CHECK_OK(run_draft(step, parts.front(), lagging));
    for (const StepPiece& piece : all_pieces)
      if (piece.state->last_streams)
        std::memcpy(piece.state->last_streams, streams + (piece.first + piece.count - 1) * width,
                    static_cast<std::size_t>(width) * sizeof(float));
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kNoMemory, "no memory for the scratch of a step of {} tokens; feed fewer at once", count);
  }
  for (const Part& part : parts) part.state->length += static_cast<Position>(part.ids.size());
  return {};
}

void Model::write_logits(const Step& step, std::span<const Part> parts, std::span<const StepPiece> pieces,
                         const float* streams) {
  const std::int64_t width = config().hc_mult * config().hidden_size, vocab = config().vocab_size;
  const auto head = [&](const float* rows, std::int64_t count, float* out) {
    read_out(step, weights_.hc_head, weights_.norm, weights_.head, rows, count, out);
  };
  std::int64_t last = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].outputs.all_logits)
      head(streams + pieces[i].first * width, pieces[i].count, parts[i].outputs.all_logits);
    last += parts[i].outputs.last_logits != nullptr;
  }
  if (last == 0) return;
  if (last == 1) {
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (parts[i].outputs.last_logits)
        head(streams + (pieces[i].first + pieces[i].count - 1) * width, 1, parts[i].outputs.last_logits);
    return;
  }
  // The head is the largest matrix of all: it is read once for everybody.
  WorkspaceScope scope(workspace_);
  float* rows = workspace_.take<float>(last * width);
  float* logits = workspace_.take<float>(last * vocab);
  std::int64_t at = 0;
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (parts[i].outputs.last_logits)
      std::memcpy(rows + at++ * width, streams + (pieces[i].first + pieces[i].count - 1) * width,
                  static_cast<std::size_t>(width) * sizeof(float));
  head(rows, last, logits);
  at = 0;
  for (const Part& part : parts)
    if (part.outputs.last_logits)
      std::memcpy(part.outputs.last_logits, logits + at++ * vocab, static_cast<std::size_t>(vocab) * sizeof(float));
}

// The MTP block over the step's tokens, each paired with the streams of the one before it.
Status Model::run_draft(const Step& step, const Part& part, float* lagging) {
  const ModelConfig& c = config();
  const std::int64_t width = c.hc_mult * c.hidden_size;
  SequenceState& state = *part.state;
  const bool first = state.length == 0;
  const float* streams = first ? lagging + width : lagging;
  Step draft = step;
  draft.ids = first ? part.ids.subspan(1) : part.ids;
  if (!first) std::memcpy(lagging, state.last_streams, static_cast<std::size_t>(width) * sizeof(float));
  if (draft.ids.empty()) return {};
  float* x = workspace_.take<float>(draft.count() * width);
  HADAL_CHECK_OK(draft_input(draft, *weights_.mtp, weights_.embed, streams, x));
  // The block's own window is one position behind.
  const Position length = state.length;
  state.length = first ? 0 : length - 1;
  const StepPiece piece{&state, 0, draft.count()};
  const Status ran = block(draft, weights_.mtp->block, c.num_hidden_layers, tables_, format_, {&piece, 1}, x);
  state.length = length;
  HADAL_CHECK_OK(ran);
  if (part.outputs.mtp_logits)
    read_out(draft, weights_.mtp->hc_head, weights_.mtp->norm, weights_.head, x, draft.count(),
             part.outputs.mtp_logits);
  return {};
}

}  // namespace hadal
