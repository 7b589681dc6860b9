#include "sessions/session_identity.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace hadal {
namespace {

Result<SessionIdentity> identity_of(const Checkpoint& checkpoint, std::uint64_t weights, const Numerics& numerics,
                                    bool reference) {
  constexpr std::uint64_t kMost = std::uint64_t{64} << 20;  // the official tokenizer.json has 6 MB
  const std::string tokenizer = HADAL_TRY(checkpoint.files().read_text("tokenizer.json", kMost));
  SessionIdentity out;
  out.weights = weights;
  out.tokenizer = XXH3_64bits(tokenizer.data(), tokenizer.size());
  if (reference)
    out.numerics |= SessionIdentity::kReference;
  else if (numerics.fast)
    out.numerics |= SessionIdentity::kFast;
  if (numerics.round_cache) out.numerics |= SessionIdentity::kRoundCache;
  if (numerics.round_inputs) out.numerics |= SessionIdentity::kRoundInputs;
  out.codec = checkpoint.chat_generation();
  return out;
}

}  // namespace

Result<SessionIdentity> session_identity(const Checkpoint& checkpoint, const Numerics& numerics, bool reference) {
  return identity_of(checkpoint, checkpoint.fingerprint(), numerics, reference);
}

Result<SessionIdentity> session_identity(const Engine& engine, const Numerics& numerics) {
  const std::uint64_t weights = engine.model ? engine.model->weights().fingerprint : engine.checkpoint->fingerprint();
  return identity_of(*engine.checkpoint, weights, numerics, engine.reference != nullptr);
}

std::string_view first_difference(const SessionIdentity& a, const SessionIdentity& b) {
  if (a.tokenizer != b.tokenizer) return "tokenizer";
  if (a.weights != b.weights) return "weights";
  if (a.numerics != b.numerics) return "numerics";
  if (a.codec != b.codec) return "chat format";
  return "";
}

}  // namespace hadal
