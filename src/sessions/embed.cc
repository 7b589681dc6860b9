// The embedding API (include/hadal/) over engine and timelines.
#include "hadal/engine.h"
#include "hadal/session.h"
#include "sessions/engine.h"
#include "sessions/generate.h"

namespace hadal::embed {
namespace {

std::vector<TokenId> token_ids(const std::vector<std::int32_t>& ids) {
  std::vector<TokenId> out(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = TokenId{ids[i]};
  return out;
}

std::vector<std::int32_t> plain_ids(std::span<const TokenId> ids) {
  std::vector<std::int32_t> out(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = to_int(ids[i]);
  return out;
}

}  // namespace

struct Engine::State {
  hadal::Engine engine;
};

struct Session::State {
  std::shared_ptr<Engine::State> owner;
  std::unique_ptr<Timeline> timeline;
  SequenceTimeline* sequence = nullptr;  // null with reference arithmetic
};

Engine::Engine(std::shared_ptr<State> state) : state_(std::move(state)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;
Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Engine> Engine::open(const std::string& directory, const EngineSettings& settings) {
  EngineOptions options;
  options.reference = settings.arithmetic == Arithmetic::kReference;
  options.model.numerics.fast = settings.arithmetic == Arithmetic::kTrained;
  options.model.threads = settings.threads;
  auto checkpoint = HADAL_TRY(Checkpoint::open(directory));
  return Engine(std::make_shared<State>(State{HADAL_TRY(hadal::Engine::open(checkpoint, options))}));
}

Result<std::vector<std::int32_t>> Engine::tokenize(std::string_view text, bool literal) const {
  const Tokenizer& t = *state_->engine.tokenizer;
  return plain_ids(literal ? t.encode_literal(text) : t.encode(text));
}

Result<std::string> Engine::detokenize(const std::vector<std::int32_t>& ids) const {
  return state_->engine.tokenizer->decode(token_ids(ids));
}

std::int64_t Engine::vocabulary() const { return state_->engine.checkpoint->config().vocab_size; }
std::int64_t Engine::context() const { return state_->engine.checkpoint->config().max_position_embeddings; }

Result<Session> Engine::new_session() const {
  auto state = std::make_unique<Session::State>();
  state->owner = state_;
  state->timeline = HADAL_TRY(state_->engine.new_timeline());
  if (!state_->engine.reference) state->sequence = static_cast<SequenceTimeline*>(state->timeline.get());
  return Session(std::move(state));
}

Result<Session> Engine::restore(const std::string& path) const {
  if (state_->engine.reference)
    return fail(ErrorCode::kUnsupported, "reference arithmetic keeps no snapshots; restore {} with trained or exact",
                path);
  auto state = std::make_unique<Session::State>();
  state->owner = state_;
  auto timeline = std::make_unique<SequenceTimeline>(HADAL_TRY(Sequence::restore(state_->engine.model, path)));
  state->sequence = timeline.get();
  state->timeline = std::move(timeline);
  return Session(std::move(state));
}

Status Session::append(const std::vector<std::int32_t>& ids) {
  return prefill(*state_->timeline, token_ids(ids), nullptr);
}

Result<Generated> Session::generate(const std::vector<std::int32_t>& prompt, const GenerateSettings& settings) {
  const hadal::Engine& engine = state_->owner->engine;
  GenerateOptions options;
  options.sampling = engine.default_sampling();
  if (settings.temperature >= 0) options.sampling.temperature = settings.temperature;
  if (settings.top_p >= 0) options.sampling.top_p = settings.top_p;
  options.sampling.seed = settings.seed;
  options.max_tokens = settings.max_tokens;
  Generated out;
  StreamDecoder decoder(*engine.tokenizer);
  Status decoded;
  GenerateHooks hooks;
  hooks.on_token = [&](const Sampled& token) {
    std::string text;
    decoded = decoder.push(token.id, text);
    if (!decoded) return false;
    out.ids.push_back(to_int(token.id));
    out.text += text;
    return !settings.on_token || settings.on_token(to_int(token.id), text);
  };
  GenerateResult result = HADAL_TRY(hadal::generate(*state_->timeline, token_ids(prompt), options, hooks));
  HADAL_CHECK_OK(decoded);
  decoder.finish(out.text);
  out.stopped = result.finish == FinishReason::kStop;
  return out;
}

Result<Session> Session::fork() const {
  if (!state_->sequence)
    return fail(ErrorCode::kUnsupported, "reference arithmetic runs one session at a time; it cannot fork");
  auto state = std::make_unique<State>();
  state->owner = state_->owner;
  auto timeline = std::make_unique<SequenceTimeline>(HADAL_TRY(state_->sequence->sequence().fork()));
  state->sequence = timeline.get();
  state->timeline = std::move(timeline);
  return Session(std::move(state));
}

Status Session::rewind(std::int64_t length) { return state_->timeline->rewind(length); }

Status Session::save(const std::string& path) const {
  if (!state_->sequence)
    return fail(ErrorCode::kUnsupported, "reference arithmetic keeps no snapshots; {} was not written", path);
  return state_->sequence->sequence().save(path);
}

std::vector<std::int32_t> Session::ids() const { return plain_ids(state_->timeline->tokens()); }
std::int64_t Session::length() const { return state_->timeline->length(); }
std::int64_t Session::memory_bytes() const { return state_->timeline->memory_bytes(); }

}  // namespace hadal::embed
