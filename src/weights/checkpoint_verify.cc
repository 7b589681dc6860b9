// Checks that read data: every value of a tensor, and the fingerprint of a checkpoint.
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "numbers/e4m3.h"
#include "numbers/e8m0.h"
#include "weights/checkpoint.h"

namespace hadal {
namespace {

template <class T, class Bad>
std::optional<std::int64_t> first_where(Bytes data, Bad bad) {
  constexpr std::size_t kChunk = 4096;  // elements looked at without a branch, so that the compiler can use vectors
  const std::size_t count = data.size() / sizeof(T);
  auto at = [&](std::size_t i) {
    T v;
    std::memcpy(&v, data.data() + i * sizeof(T), sizeof(T));
    return v;
  };
  for (std::size_t begin = 0; begin < count; begin += kChunk) {
    const std::size_t end = std::min(count, begin + kChunk);
    bool any = false;
    for (std::size_t i = begin; i < end; ++i) any |= bad(at(i));
    if (!any) continue;
    for (std::size_t i = begin; i < end; ++i)
      if (bad(at(i))) return static_cast<std::int64_t>(i);
  }
  return std::nullopt;
}

// The first element that is not a finite number, or for I64 not below `limit`. Every E2M1 code is a number.
std::optional<std::int64_t> first_bad(DType dtype, Bytes data, std::int64_t limit) {
  switch (dtype) {
    case DType::kE4M3:
      return first_where<std::uint8_t>(data, [](std::uint8_t v) { return (v & 0x7F) == kE4m3Nan; });
    case DType::kE8M0:
      return first_where<std::uint8_t>(data, [](std::uint8_t v) { return v == kE8m0Nan; });
    case DType::kBF16:
      return first_where<std::uint16_t>(data, [](std::uint16_t v) { return (v & 0x7F80) == 0x7F80; });
    case DType::kF32:
      return first_where<std::uint32_t>(data, [](std::uint32_t v) { return (v & 0x7F800000) == 0x7F800000; });
    case DType::kI64:
      return first_where<std::uint64_t>(data,
                                        [limit](std::uint64_t v) { return v >= static_cast<std::uint64_t>(limit); });
    default:
      return std::nullopt;
  }
}

using HashState = std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)>;
HashState new_hash() {
  HashState state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  return state;
}

}  // namespace

Status Checkpoint::verify(const TensorSpec& spec, std::uint64_t* digest) const {
  const StoredTensor* weight = HADAL_TRY(find(spec.name));
  const auto form = stored_form(spec, weight->dtype, config_.weight_block_size);
  const StoredTensor* scale = form && form->has_scale ? HADAL_TRY(find(spec.scale_name())) : nullptr;
  HashState hash = new_hash();
  for (const StoredTensor* t : {weight, scale}) {
    if (!t) continue;
    const std::string where = fmt::format("{}/{}", directory(), shards_[t->shard].file);
    if (t->data.size() != t->bytes)
      return fail(ErrorCode::kBadInput, "{}: the data of tensor '{}' is cut off; fetch the file again", where, t->name);
    if (const auto index = first_bad(t->dtype, t->data, config_.n_routed_experts)) {
      const std::int64_t cols = t->shape.empty() ? 1 : t->shape.back();
      return fail(ErrorCode::kBadInput, "{}: tensor '{}' {} at row {}, column {}; fetch the file again", where, t->name,
                  t->dtype == DType::kI64 ? fmt::format("names an expert outside 0 to {}", config_.n_routed_experts - 1)
                                          : "is not a finite number",
                  *index / cols, *index % cols);
    }
    XXH3_64bits_update(hash.get(), t->data.data(), t->data.size());
  }
  if (digest) *digest = XXH3_64bits_digest(hash.get());
  return {};
}

std::uint64_t Checkpoint::fingerprint() const {
  // Fields that change what the model computes, in a fixed spelling; hexadecimal floats are exact.
  const ModelConfig& c = config_;
  std::string text = "hadal-fingerprint-1";
  for (std::int64_t v : {c.vocab_size,
                         c.hidden_size,
                         c.num_hidden_layers,
                         c.num_hash_layers,
                         c.num_attention_heads,
                         c.head_dim,
                         c.qk_rope_head_dim,
                         c.q_lora_rank,
                         c.o_groups,
                         c.o_lora_rank,
                         c.sliding_window,
                         c.index_n_heads,
                         c.index_head_dim,
                         c.index_topk,
                         c.n_routed_experts,
                         c.num_experts_per_tok,
                         c.moe_intermediate_size,
                         c.hc_mult,
                         c.hc_sinkhorn_iters,
                         c.weight_block_size,
                         c.rope_scaling.original_max_position_embeddings})
    text += fmt::format(" {}", v);
  for (double v : {c.routed_scaling_factor, c.swiglu_limit, c.hc_eps, c.rms_norm_eps, c.rope_theta,
                   c.compress_rope_theta, c.rope_scaling.factor, c.rope_scaling.beta_fast, c.rope_scaling.beta_slow})
    text += fmt::format(" {:a}", v);
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) text += fmt::format(" {}", c.ratio(l));

  HashState hash = new_hash();
  XXH3_64bits_update(hash.get(), text.data(), text.size());
  auto add = [&](const StoredTensor& t) {
    const std::string line = fmt::format("\n{} {} {}\n", t.name, dtype_name(t.dtype), shape_text(t.shape));
    XXH3_64bits_update(hash.get(), line.data(), line.size());
    // Start, middle and end: a few reads per tensor, so that Pro's 145,116 tensors take seconds, and any two trainings
    // differ.
    constexpr std::size_t kSample = 256;
    const std::size_t sample = std::min(kSample, t.data.size()), room = t.data.size() - sample;
    for (std::size_t part = 0; part < 3; ++part)
      XXH3_64bits_update(hash.get(), t.data.data() + room / 2 * part, sample);
  };
  for (const TensorSpec& spec : table_.tensors()) {
    if (spec.presence == Presence::kIgnored) continue;
    const auto weight = stored_.find(spec.name);
    if (weight == stored_.end()) continue;
    add(weight->second);
    const auto form = stored_form(spec, weight->second.dtype, config_.weight_block_size);
    const auto scale = form && form->has_scale ? stored_.find(spec.scale_name()) : stored_.end();
    if (scale != stored_.end()) add(scale->second);
  }
  return XXH3_64bits_digest(hash.get());
}

}  // namespace hadal
