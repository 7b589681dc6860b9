#include "sessions/engine.h"

#include <algorithm>

#include "cache/working_memory.h"

namespace hadal {
namespace {

std::int64_t bytes_of(const HyperConnectionWeights& w) { return w.fn.bytes(); }
std::int64_t bytes_of(const CompressorWeights& w) { return w.wkv.bytes() + w.wgate.bytes(); }
std::int64_t bytes_of(const ExpertWeights& w) { return w.w1.bytes() + w.w2.bytes() + w.w3.bytes(); }

std::int64_t bytes_of(const BlockWeights& b, const ModelConfig& c, std::int64_t ratio) {
  const AttentionWeights& a = b.attn;
  std::int64_t sum =
      bytes_of(b.hc_attn) + bytes_of(b.hc_ffn) + a.wq_a.bytes() + a.wq_b.bytes() + a.wkv.bytes() + a.wo_b.bytes();
  for (const PackedMatrix& m : a.wo_a) sum += m.bytes();
  if (ratio) sum += bytes_of(a.compressor);
  if (ratio == 4) sum += a.indexer.wq_b.bytes() + a.indexer.weights_proj.bytes() + bytes_of(a.indexer.compressor);
  sum += b.ffn.gate.bytes() + bytes_of(b.ffn.shared);
  const std::int64_t one = b.ffn.store ? b.ffn.store->expert_bytes() : bytes_of(b.ffn.experts.front());
  sum += c.num_experts_per_tok * one;
  return sum;
}

}  // namespace

std::int64_t decode_weight_bytes(const ModelWeights& w) {
  std::int64_t sum = w.head.bytes() + bytes_of(w.hc_head) + 2 * w.config.hidden_size;
  for (std::size_t l = 0; l < w.layers.size(); ++l)
    sum += bytes_of(w.layers[l], w.config, w.config.ratio(static_cast<std::int64_t>(l)));
  return sum;
}

Result<std::shared_ptr<const Tokenizer>> read_tokenizer(const Checkpoint& checkpoint) {
  const FileSet& files = checkpoint.files();
  constexpr std::uint64_t kMost = std::uint64_t{64} << 20;  // the official tokenizer.json has 6 MB
  std::string tokenizer_json = HADAL_TRY(files.read_text("tokenizer.json", kMost));
  auto tokenizer = HADAL_TRY(Tokenizer::from_json(tokenizer_json, files.path_of("tokenizer.json")));
  const std::int64_t vocab = checkpoint.config().vocab_size;
  if (tokenizer->vocab_size() > vocab)
    return fail(ErrorCode::kBadInput,
                "{} has ids up to {}, the model's vocabulary is {}; tokenizer and weights do not belong together",
                files.path_of("tokenizer.json"), tokenizer->vocab_size() - 1, vocab);
  return tokenizer;
}

Result<GenerationConfig> read_generation_config(const Checkpoint& checkpoint) {
  const FileSet& files = checkpoint.files();
  if (!files.contains("generation_config.json")) return GenerationConfig{};
  std::string text = HADAL_TRY(files.read_text("generation_config.json", 1 << 20));
  return parse_generation_config(text, files.path_of("generation_config.json"));
}

Result<Engine> Engine::open(std::shared_ptr<const Checkpoint> checkpoint, const EngineOptions& options) {
  Engine e;
  e.checkpoint = std::move(checkpoint);
  e.tokenizer = HADAL_TRY(read_tokenizer(*e.checkpoint));
  e.generation = HADAL_TRY(read_generation_config(*e.checkpoint));
  const ModelConfig& c = e.checkpoint->config();
  if (e.generation.eos_token_ids.empty()) e.generation.eos_token_ids = {TokenId{c.eos_token_id}};
  if (options.reference && !options.repack_cache.empty())
    return fail(ErrorCode::kUsage, "--numerics reference packs no weights; leave out --repack-cache");
  if (options.reference) {
    ReferenceOptions reference;
    reference.round_cache = options.model.numerics.round_cache;
    reference.round_inputs = options.model.numerics.round_inputs;
    reference.threads = options.model.threads;
    e.reference = std::make_shared<ReferenceModel>(HADAL_TRY(ReferenceModel::load(*e.checkpoint, reference)));
    return e;
  }
  const std::int64_t context = std::min(options.context_tokens, c.max_position_embeddings);
  ModelWeights weights = HADAL_TRY(
      load_weights(e.checkpoint, place_experts(e.checkpoint->config(), options.model, context, options.expert_memory),
                   options.repack_cache));
  e.model = HADAL_TRY(Model::create(std::move(weights), options.model));
  return e;
}

Result<std::unique_ptr<Timeline>> Engine::new_timeline() const {
  if (reference) return std::make_unique<ReferenceTimeline>(reference);
  return std::make_unique<SequenceTimeline>(HADAL_TRY(Sequence::create(model)));
}

std::vector<IdRange> never_sampled(const Tokenizer& tokenizer, std::int32_t vocab) {
  std::vector<IdRange> out;
  for (std::int32_t id = 0, from = -1; id <= vocab; ++id) {
    const std::string_view bytes = id < vocab ? tokenizer.bytes_of(TokenId{id}) : std::string_view();
    const bool unused =
        id < vocab &&
        (bytes.empty() || (bytes.starts_with("<|place_holder_mm_span_") && tokenizer.is_added(TokenId{id})));
    if (unused && from < 0) from = id;
    if (!unused && from >= 0) {
      out.push_back({from, id});
      from = -1;
    }
  }
  return out;
}

SamplingOptions Engine::default_sampling() const {
  SamplingOptions s = generation.sampling();
  s.stop_ids = generation.eos_token_ids;
  s.forbidden = never_sampled(*tokenizer, static_cast<std::int32_t>(checkpoint->config().vocab_size));
  return s;
}

}  // namespace hadal
