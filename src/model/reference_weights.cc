#include "model/reference_weights.h"

#include <utility>

#include "weights/checkpoint.h"
#include "weights/tensor_table.h"

namespace hadal::reference {
namespace {

// Reads tensors of one layer (or of the whole model, kNoLayer) by meaning. The first failure sticks; what is read after
// it is empty.
class Reader {
 public:
  Reader(const Checkpoint& checkpoint, Status& status, std::int64_t layer)
      : checkpoint_(checkpoint), status_(status), layer_(layer) {}

  Vector vector(Role role, std::int64_t expert = kNoExpert) {
    const TensorSpec* spec = find(role, expert);
    if (!spec) return {};
    auto values = checkpoint_.dequantise(*spec);
    if (values) return std::move(*values);
    status_ = std::unexpected(values.error());
    return {};
  }

  Matrix matrix(Role role, std::int64_t expert = kNoExpert) { return std::move(groups(role, 1, expert).front()); }

  // The matrix cut into `count` runs of rows: wo_a is one matrix per output group.
  std::vector<Matrix> groups(Role role, std::int64_t count, std::int64_t expert = kNoExpert) {
    std::vector<Matrix> out(static_cast<std::size_t>(count));
    const Vector values = vector(role, expert);
    if (!status_) return out;
    const TensorSpec& spec = *find(role, expert);
    const DType stored = (*checkpoint_.find(spec.name))->dtype;  // dequantised a moment ago, so it is there
    const bool quantised = stored == DType::kE4M3 || stored == DType::kI8;
    const std::int64_t rows = spec.rows() / count;
    const auto size = static_cast<std::size_t>(rows * spec.cols());
    for (std::size_t g = 0; g < out.size(); ++g)
      out[g] = make_matrix(std::span(values).subspan(g * size, size), rows, spec.cols(), quantised);
    return out;
  }

 private:
  const TensorSpec* find(Role role, std::int64_t expert) {
    if (!status_) return nullptr;
    const TensorSpec* spec = checkpoint_.table().find(role, layer_, expert);
    if (!spec)
      status_ =
          fail(ErrorCode::kInternal, "the tensor table has no role {} in layer {}", static_cast<int>(role), layer_);
    return spec;
  }

  const Checkpoint& checkpoint_;
  Status& status_;
  std::int64_t layer_;
};

Attention read_attention(Reader& r, const ModelConfig& c, std::int64_t ratio) {
  Attention a;
  a.wq_a = r.matrix(Role::kWqA);
  a.q_norm = r.vector(Role::kQNorm);
  a.wq_b = r.matrix(Role::kWqB);
  a.wkv = r.matrix(Role::kWkv);
  a.kv_norm = r.vector(Role::kKvNorm);
  a.attn_sink = r.vector(Role::kAttnSink);
  a.wo_a = r.groups(Role::kWoA, c.o_groups);
  a.wo_b = r.matrix(Role::kWoB);
  if (ratio != 0)
    a.compressor = {r.matrix(Role::kCompressorWkv), r.matrix(Role::kCompressorWgate), r.vector(Role::kCompressorApe),
                    r.vector(Role::kCompressorNorm)};
  if (ratio == 4)
    a.indexer = {r.matrix(Role::kIndexerWqB),
                 r.matrix(Role::kIndexerWeightsProj),
                 {r.matrix(Role::kIndexerCompressorWkv), r.matrix(Role::kIndexerCompressorWgate),
                  r.vector(Role::kIndexerCompressorApe), r.vector(Role::kIndexerCompressorNorm)}};
  return a;
}

Moe read_moe(Reader& r, const ModelConfig& c, bool hashed) {
  Moe m;
  m.gate = r.matrix(Role::kGate);
  if (hashed)
    for (double e : r.vector(Role::kGateTid2eid)) m.tid2eid.push_back(static_cast<std::int64_t>(e));
  else
    m.bias = r.vector(Role::kGateBias);
  for (std::int64_t e = 0; e < c.n_routed_experts; ++e)
    m.experts.push_back({r.matrix(Role::kExpertW1, e), r.matrix(Role::kExpertW2, e), r.matrix(Role::kExpertW3, e)});
  m.shared = {r.matrix(Role::kSharedW1), r.matrix(Role::kSharedW2), r.matrix(Role::kSharedW3)};
  return m;
}

Block read_block(Reader& r, const ModelConfig& c, std::int64_t layer) {
  Block b;
  b.hc_attn = {r.matrix(Role::kHcAttnFn), r.vector(Role::kHcAttnBase), r.vector(Role::kHcAttnScale)};
  b.hc_ffn = {r.matrix(Role::kHcFfnFn), r.vector(Role::kHcFfnBase), r.vector(Role::kHcFfnScale)};
  b.attn_norm = r.vector(Role::kAttnNorm);
  b.ffn_norm = r.vector(Role::kFfnNorm);
  b.attn = read_attention(r, c, c.ratio(layer));
  b.ffn = read_moe(r, c, layer < c.num_hash_layers);
  return b;
}

ReadOut read_read_out(Reader& r) {
  return {{r.matrix(Role::kHcHeadFn), r.vector(Role::kHcHeadBase), r.vector(Role::kHcHeadScale)},
          r.vector(Role::kNorm)};
}

}  // namespace

std::int64_t weight_bytes(const TensorTable& table, bool with_mtp) {
  std::int64_t elements = 0;
  for (const TensorSpec& spec : table.tensors())
    if (spec.presence == Presence::kRequired || (with_mtp && spec.presence == Presence::kMtp))
      elements += spec.elements();
  return elements * static_cast<std::int64_t>(sizeof(double));
}

Result<Weights> load_weights(const Checkpoint& checkpoint, bool with_mtp) {
  const ModelConfig& c = checkpoint.config();
  Status status;
  Weights w;
  Reader whole(checkpoint, status, kNoLayer);
  w.embed = whole.vector(Role::kEmbed);
  for (std::int64_t l = 0; l < c.num_hidden_layers && status; ++l) {
    Reader layer(checkpoint, status, l);
    w.layers.push_back(read_block(layer, c, l));
  }
  w.read_out = read_read_out(whole);
  w.head = whole.matrix(Role::kHead);
  if (with_mtp) {
    Reader mtp(checkpoint, status, c.num_hidden_layers);
    Mtp& m = w.mtp.emplace();
    m.e_proj = mtp.matrix(Role::kMtpEProj);
    m.h_proj = mtp.matrix(Role::kMtpHProj);
    m.enorm = mtp.vector(Role::kMtpENorm);
    m.hnorm = mtp.vector(Role::kMtpHNorm);
    m.block = read_block(mtp, c, c.num_hidden_layers);
    m.read_out = read_read_out(mtp);
  }
  if (!status) return std::unexpected(status.error());
  return w;
}

}  // namespace hadal::reference
