#include "plan/weight_count.h"

#include "base/span.h"

namespace hadal {
namespace {

// Stored bytes of a tensor with its scale.
std::int64_t release_bytes(const TensorSpec& t, std::int64_t block, ReleaseKind kind) {
  const std::int64_t n = t.elements();
  const std::int64_t fp8 =
      n + (kind == ReleaseKind::kBase ? 4 : 1) * ceil_div(t.rows(), block) * ceil_div(t.cols(), block);
  switch (t.storage) {
    case Storage::kFp8:
      return fp8;
    case Storage::kExpert:
      return kind == ReleaseKind::kBase ? fp8 : n / 2 + n / 32;  // a nibble each, an E8M0 byte per 32
    case Storage::kBf16:
      return 2 * n;
    case Storage::kF32:
      return 4 * n;
    case Storage::kI64:
      return 8 * n;
  }
  return 0;
}

// The part of a main-stack tensor that one token reads.
double active_share(const TensorSpec& t, const ModelConfig& config) {
  if (t.role == Role::kEmbed || t.role == Role::kGateTid2eid) return 1.0 / static_cast<double>(t.rows());
  if (t.group == TensorClass::kRoutedExperts) {
    return static_cast<double>(config.num_experts_per_tok) / static_cast<double>(config.n_routed_experts);
  }
  return 1;
}

template <class BytesOf>  // bytes_of(spec): 0 when the tensor is not there
WeightCount count(const ModelConfig& config, const TensorTable& table, BytesOf&& bytes_of) {
  WeightCount w;
  for (int g = 0; g <= static_cast<int>(TensorClass::kMtp); ++g) w.classes.push_back({static_cast<TensorClass>(g)});
  for (const TensorSpec& t : table.tensors()) {
    const std::int64_t bytes = bytes_of(t);
    if (bytes == 0) continue;
    const bool mtp = t.group == TensorClass::kMtp || t.layer == config.num_hidden_layers;
    ClassCount& group = w.classes[static_cast<std::size_t>(mtp ? TensorClass::kMtp : t.group)];
    ++group.tensors;
    group.bytes += bytes;
    (mtp ? w.mtp_bytes : w.main_bytes) += bytes;
    if (mtp) continue;
    const auto n = static_cast<double>(t.elements());
    if (t.storage != Storage::kI64) {
      w.parameters += n;
      // The report counts the whole embedding as touched.
      w.active_parameters += t.role == Role::kEmbed ? n : n * active_share(t, config);
    }
    w.active_bytes += static_cast<double>(bytes) * active_share(t, config);
    if (t.group == TensorClass::kRoutedExperts) {
      w.routed_bytes += bytes;
      w.active_routed_bytes += static_cast<double>(bytes) * active_share(t, config);
    }
  }
  return w;
}

}  // namespace

WeightCount count_release(const ModelConfig& config, const TensorTable& table, ReleaseKind kind) {
  return count(config, table, [&](const TensorSpec& t) -> std::int64_t {
    // Base checkpoints carry copies of embedding and head in the MTP block; releases do not.
    if (t.presence == Presence::kIgnored && kind == ReleaseKind::kRelease) return 0;
    return release_bytes(t, config.weight_block_size, kind);
  });
}

WeightCount count_stored(const Checkpoint& checkpoint) {
  const auto& stored = checkpoint.stored();
  return count(checkpoint.config(), checkpoint.table(), [&](const TensorSpec& t) -> std::int64_t {
    auto weight = stored.find(t.name);
    if (weight == stored.end()) return 0;
    auto scale = stored.find(t.scale_name());
    return static_cast<std::int64_t>(weight->second.bytes + (scale == stored.end() ? 0 : scale->second.bytes));
  });
}

}  // namespace hadal
