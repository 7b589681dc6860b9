#include "model/reference_model.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <thread>

#include "layers/rotary.h"
#include "machine/cores.h"
#include "weights/arena.h"
#include "weights/checkpoint.h"

namespace hadal {

using namespace reference;

namespace {

// Calls fn(i) for i in [0, count) on up to `threads` threads. Every i writes its own results, so the order does not
// matter.
template <class F>
void for_each_token(std::size_t count, int threads, F&& fn) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> exhausted{false};
  auto work = [&] {
    try {
      for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) fn(i);
    } catch (const std::bad_alloc&) {
      exhausted = true;
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < std::min(count, static_cast<std::size_t>(threads)); ++i) others.emplace_back(work);
    work();
  }
  if (exhausted) throw std::bad_alloc();
}

std::span<const double> embedding(const Weights& weights, TokenId id, std::int64_t d) {
  return std::span(weights.embed).subspan(static_cast<std::size_t>(to_int(id) * d), static_cast<std::size_t>(d));
}

}  // namespace

Result<ReferenceModel> ReferenceModel::load(const Checkpoint& checkpoint, ReferenceOptions options) {
  const ModelConfig& c = checkpoint.config();
  const auto pairs = static_cast<std::size_t>(c.qk_rope_head_dim / 2);
  for (const auto* table : {&options.plain_frequencies, &options.compressed_frequencies})
    if (!table->empty() && table->size() != pairs)
      return fail(ErrorCode::kUsage, "frequency table has {} entries, the model rotates {} pairs", table->size(),
                  pairs);
  if (options.mtp && !checkpoint.has_mtp())
    return fail(ErrorCode::kUnsupported, "{}: no one-step MTP block in this checkpoint, so there are no MTP logits",
                checkpoint.directory());
  const std::int64_t needed = weight_bytes(checkpoint.table(), options.mtp), available = available_memory_bytes();
  if (available >= 0 && needed > available)
    return fail(ErrorCode::kNoMemory,
                "{}: reference numerics keep eight bytes a parameter and need {:.1f} GB, {:.1f} GB are free; use "
                "--numerics exact",
                checkpoint.directory(), static_cast<double>(needed) * 1e-9, static_cast<double>(available) * 1e-9);

  ReferenceModel model;
  Setting& setting = model.setting_;
  setting.config = c;
  setting.round_cache = options.round_cache;
  setting.round_inputs = options.round_inputs;
  setting.plain_frequencies =
      options.plain_frequencies.empty() ? plain_frequencies(c) : std::move(options.plain_frequencies);
  setting.compressed_frequencies =
      options.compressed_frequencies.empty() ? compressed_frequencies(c) : std::move(options.compressed_frequencies);
  model.threads_ = options.threads > 0 ? options.threads : available_cores();
  try {
    model.weights_ = HADAL_TRY(load_weights(checkpoint, options.mtp));
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kNoMemory, "{}: the system refused {:.1f} GB for reference numerics; use --numerics exact",
                checkpoint.directory(), static_cast<double>(needed) * 1e-9);
  }
  model.reset();
  return model;
}

// Spec 2, Block(X), for consecutive tokens from position `start`.
void ReferenceModel::block(const Block& weights, std::int64_t layer, std::span<const TokenId> ids, Position start,
                           Streams& X, ReferenceTrace* trace) {
  const std::int64_t ratio = setting_.config.ratio(layer);
  LayerState& state = layers_[static_cast<std::size_t>(layer)];
  const std::size_t count = X.size();
  std::vector<Mix> mixes(count);
  std::vector<Projections> tokens(count);
  if (trace) trace->selected.resize(ratio == 4 ? count : 0);

  for_each_token(count, threads_, [&](std::size_t i) {
    mixes[i] = hyper_connection(setting_, weights.hc_attn, X[i]);
    Vector h = hc_pre(setting_, mixes[i], X[i]);
    rms_norm(setting_, h, weights.attn_norm);
    tokens[i] = project(setting_, weights.attn, ratio, h, start + static_cast<Position>(i));
  });
  for (std::size_t i = 0; i < count; ++i)
    remember(setting_, weights.attn, ratio, tokens[i], start + static_cast<Position>(i), state);
  for_each_token(count, threads_, [&](std::size_t i) {
    Vector y = attend(setting_, weights.attn, ratio, tokens[i], start + static_cast<Position>(i), state,
                      trace && ratio == 4 ? &trace->selected[i] : nullptr);
    X[i] = hc_post(setting_, mixes[i], y, X[i]);

    Mix mix = hyper_connection(setting_, weights.hc_ffn, X[i]);
    Vector h = hc_pre(setting_, mix, X[i]);
    rms_norm(setting_, h, weights.ffn_norm);
    y = moe(setting_, weights.ffn, h, ids[i]);
    X[i] = hc_post(setting_, mix, y, X[i]);
  });
  forget(setting_, start + static_cast<Position>(count), state);
  if (trace) trace->streams = X;
}

// logits = head . RMSNorm(HeadCollapse(X))
std::vector<double> ReferenceModel::read_out(const ReadOut& weights, const Streams& X) const {
  const auto vocab = static_cast<std::size_t>(setting_.config.vocab_size);
  std::vector<double> logits(X.size() * vocab);
  for_each_token(X.size(), threads_, [&](std::size_t i) {
    Vector z = head_collapse(setting_, weights.hc_head, X[i]);
    rms_norm(setting_, z, weights.norm);
    Vector row = multiply(weights_.head, z);
    std::copy(row.begin(), row.end(), logits.begin() + static_cast<std::ptrdiff_t>(i * vocab));
  });
  return logits;
}

// Spec 10: X_j = e_proj RMSNorm(embed[next]; enorm) + h_proj RMSNorm(S_j; hnorm) for each stream j
ReferenceModel::Streams ReferenceModel::draft_input(const Streams& S, std::span<const TokenId> next) const {
  const Mtp& mtp = *weights_.mtp;
  const std::int64_t d = setting_.config.hidden_size;
  Streams X(next.size());
  for_each_token(next.size(), threads_, [&](std::size_t i) {
    auto row = embedding(weights_, next[i], d);
    Vector e(row.begin(), row.end());
    rms_norm(setting_, e, mtp.enorm);
    e = linear(setting_, mtp.e_proj, e);
    for (std::int64_t j = 0; j < setting_.config.hc_mult; ++j) {
      Vector s(S[i].begin() + j * d, S[i].begin() + (j + 1) * d);
      rms_norm(setting_, s, mtp.hnorm);
      s = linear(setting_, mtp.h_proj, s);
      for (std::size_t k = 0; k < s.size(); ++k) X[i].push_back(e[k] + s[k]);
    }
  });
  return X;
}

Result<ReferenceLogits> ReferenceModel::feed(std::span<const TokenId> ids, std::vector<ReferenceTrace>* trace) {
  const ModelConfig& c = setting_.config;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (to_int(ids[i]) < 0 || to_int(ids[i]) >= c.vocab_size)
      return fail(ErrorCode::kUsage, "token id {} at position {} is outside the vocabulary of {}", to_int(ids[i]),
                  length_ + static_cast<Position>(i), c.vocab_size);
  }
  const auto count = static_cast<Position>(ids.size());
  if (count > c.max_position_embeddings - length_)
    return fail(ErrorCode::kUsage, "{} tokens exceed the model's context of {}; shorten the input", length_ + count,
                c.max_position_embeddings);
  if (ids.empty()) return ReferenceLogits{};
  try {
    return step(ids, trace);
  } catch (const std::bad_alloc&) {
    const Position reached = length_ + count;
    reset();  // some layers have seen the tokens and some have not
    return fail(ErrorCode::kNoMemory, "no memory left at {} tokens of context; the sequence was forgotten", reached);
  }
}

ReferenceLogits ReferenceModel::step(std::span<const TokenId> ids, std::vector<ReferenceTrace>* trace) {
  const ModelConfig& c = setting_.config;
  ReferenceLogits out;
  if (trace) trace->assign(static_cast<std::size_t>(c.num_hidden_layers), {});

  Streams X(ids.size());  // all n streams start equal
  for (std::size_t i = 0; i < ids.size(); ++i) {
    auto row = embedding(weights_, ids[i], c.hidden_size);
    for (std::int64_t j = 0; j < c.hc_mult; ++j) X[i].insert(X[i].end(), row.begin(), row.end());
  }
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    const auto at = static_cast<std::size_t>(l);
    block(weights_.layers[at], l, ids, length_, X, trace ? &(*trace)[at] : nullptr);
  }
  out.main = read_out(weights_.read_out, X);

  if (weights_.mtp) {
    Vector last = X.back();
    X.pop_back();  // its row waits for the next token
    std::span<const TokenId> next = ids;
    Position start = length_ - 1;
    if (length_ == 0) {
      next = ids.subspan(1);
      start = 0;
    } else {
      X.insert(X.begin(), std::move(last_streams_));
    }
    last_streams_ = std::move(last);
    Streams drafts = draft_input(X, next);
    block(weights_.mtp->block, c.num_hidden_layers, next, start, drafts, nullptr);
    out.mtp = read_out(weights_.mtp->read_out, drafts);
  }
  length_ += static_cast<Position>(ids.size());
  return out;
}

void ReferenceModel::reset() {
  length_ = 0;
  layers_.assign(weights_.layers.size() + (weights_.mtp ? 1 : 0), {});
  last_streams_.clear();
}

}  // namespace hadal
