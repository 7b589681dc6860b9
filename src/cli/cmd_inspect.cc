// hadal inspect: what a checkpoint directory holds, in the paper's words, compared with the tensor table.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/report.h"
#include "machine/thread_pool.h"
#include "sessions/engine.h"
#include "weights/checkpoint.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Sum {
  std::int64_t tensors = 0;  // scales counted as tensors, as the release does
  std::uint64_t bytes = 0;
};

// Counts over what is stored.
struct Totals {
  std::vector<std::pair<TensorClass, Sum>> by_class;  // in the order of the class list
  std::map<std::string, Sum> by_dtype;
  Sum stored;
  std::int64_t expected = 0;    // tensors the table asks for, scales included
  std::int64_t parameters = 0;  // main stack; lookup tables of expert ids are not parameters
  std::int64_t mtp_parameters = 0;
  std::uint64_t file_bytes = 0;
};

Totals add_up(const Checkpoint& checkpoint) {
  Totals totals;
  std::map<TensorClass, Sum> classes;
  for (const TensorSpec& spec : checkpoint.table().tensors()) {
    const auto weight = checkpoint.find(spec.name);
    if (spec.presence == Presence::kRequired || (spec.presence == Presence::kMtp && checkpoint.has_mtp())) {
      ++totals.expected;
      const auto form =
          weight ? stored_form(spec, (*weight)->dtype, checkpoint.config().weight_block_size) : std::nullopt;
      if (form && form->has_scale) ++totals.expected;
    }
    if (!weight || spec.presence == Presence::kIgnored) continue;
    Sum& sum = classes[spec.group];
    ++sum.tensors;
    sum.bytes += (*weight)->bytes;
    if (spec.storage == Storage::kFp8 || spec.storage == Storage::kExpert)
      if (const auto scale = checkpoint.find(spec.scale_name())) {
        ++sum.tensors;
        sum.bytes += (*scale)->bytes;
      }
    if (spec.storage != Storage::kI64)
      (spec.group == TensorClass::kMtp ? totals.mtp_parameters : totals.parameters) += spec.elements();
  }
  for (const auto& [group, sum] : classes) totals.by_class.emplace_back(group, sum);
  for (const auto& [name, tensor] : checkpoint.stored()) {
    for (Sum* sum : {&totals.stored, &totals.by_dtype[std::string(dtype_name(tensor.dtype))]}) {
      ++sum->tensors;
      sum->bytes += tensor.bytes;
    }
  }
  for (const auto& shard : checkpoint.shards()) totals.file_bytes += shard.file_bytes;
  return totals;
}

const char* kind_name(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::kSwa:
      return "SWA";
    case AttentionKind::kCsa:
      return "CSA";
    case AttentionKind::kHca:
      return "HCA";
  }
  return "";
}

const char* generation_name(ChatGeneration generation) {
  return generation == ChatGeneration::k0731 ? "0731" : "preview";
}

// 0, 1, 5-9 becomes "0-1, 5-9"; alternating runs become "2-42 even".
std::string layer_list(const std::vector<std::int64_t>& layers) {
  std::string out;
  for (std::size_t i = 0; i < layers.size();) {
    auto run = [&](std::int64_t step) {
      std::size_t j = i;
      while (j + 1 < layers.size() && layers[j + 1] == layers[j] + step) ++j;
      return j;
    };
    const std::size_t by_one = run(1), by_two = run(2);
    if (!out.empty()) out += ", ";
    if (by_two >= i + 2) {
      out += fmt::format("{}-{} {}", layers[i], layers[by_two], layers[i] % 2 == 0 ? "even" : "odd");
      i = by_two + 1;
    } else if (by_one > i) {
      out += fmt::format("{}-{}", layers[i], layers[by_one]);
      i = by_one + 1;
    } else {
      out += fmt::format("{}", layers[i++]);
    }
  }
  return out;
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KB", "MB", "GB", "TB"};
  double v = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (v >= 999.5 && unit + 1 < kUnits.size()) v /= 1000, ++unit;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.{}f} {}", v, v < 99.5 ? 2 : 1, kUnits[unit]);
}

std::string count_text(std::int64_t n) {
  const double v = static_cast<double>(n);
  return n >= 1'000'000'000 ? fmt::format("{:.2f} billion", v * 1e-9)
         : n >= 1'000'000   ? fmt::format("{:.2f} million", v * 1e-6)
                            : fmt::format("{}", n);
}

// Reads every tensor of the table. The digest chains tensor digests in table order, so it names the content whatever
// the sharding.
Result<std::uint64_t> verify_everything(const Checkpoint& checkpoint, const Totals& totals) {
  std::vector<const TensorSpec*> present;
  for (const TensorSpec& spec : checkpoint.table().tensors())
    if (checkpoint.find(spec.name)) present.push_back(&spec);
  std::vector<std::uint64_t> digests(present.size());
  std::vector<Status> outcomes(present.size());
  Progress progress("verifying", "bytes", static_cast<std::int64_t>(totals.stored.bytes));
  ThreadPool pool(0);
  std::int64_t done = 0;
  constexpr std::int64_t kBatchBytes = 256 << 20;  // between two looks at Ctrl-C and the progress bar
  for (std::size_t begin = 0; begin < present.size();) {
    if (interrupted()) return fail(ErrorCode::kCancelled, "{}: verification was interrupted", checkpoint.directory());
    std::size_t end = begin;
    std::int64_t bytes = 0;
    for (; end < present.size() && bytes < kBatchBytes; ++end)
      bytes += static_cast<std::int64_t>((*checkpoint.find(present[end]->name))->bytes);
    pool.for_each(static_cast<std::int64_t>(end - begin), [&](std::int64_t i, int) {
      const std::size_t at = begin + static_cast<std::size_t>(i);
      outcomes[at] = checkpoint.verify(*present[at], &digests[at]);
    });
    for (std::size_t i = begin; i < end; ++i)
      if (!outcomes[i]) return std::unexpected(outcomes[i].error());
    progress.update(done += bytes);
    begin = end;
  }
  progress.finish();
  std::uint64_t chained = 0;
  for (std::uint64_t d : digests) chained = (chained ^ d) * 0x9E3779B97F4A7C15u + (chained >> 29);
  return chained;
}

Json config_json(const ModelConfig& c) {
  Json layers = Json::array();
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l)
    layers.push_back({{"layer", l},
                      {"kind", kind_name(c.kind(l))},
                      {"compress_ratio", c.ratio(l)},
                      {"router", l < c.num_hash_layers ? "hash" : "learned"}});
  return {{"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"streams", c.hc_mult},
          {"context", c.max_position_embeddings},
          {"heads", c.num_attention_heads},
          {"head_dim", c.head_dim},
          {"rope_head_dim", c.qk_rope_head_dim},
          {"q_lora_rank", c.q_lora_rank},
          {"o_groups", c.o_groups},
          {"o_lora_rank", c.o_lora_rank},
          {"sliding_window", c.sliding_window},
          {"index_heads", c.index_n_heads},
          {"index_head_dim", c.index_head_dim},
          {"index_topk", c.index_topk},
          {"routed_experts", c.n_routed_experts},
          {"experts_per_token", c.num_experts_per_tok},
          {"expert_width", c.moe_intermediate_size},
          {"routed_scaling_factor", c.routed_scaling_factor},
          {"swiglu_limit", c.swiglu_limit},
          {"layers", layers}};
}

// Without one a checkpoint computes logits of ids, and no text.
bool has_tokenizer(const Checkpoint& checkpoint) { return checkpoint.files().contains("tokenizer.json"); }

// What keeps a checkpoint from being run: its tensors first, then the files beside them.
std::vector<Error> all_problems(const Checkpoint& checkpoint) {
  std::vector<Error> problems = checkpoint.problems();
  if (has_tokenizer(checkpoint))
    if (auto tokenizer = read_tokenizer(checkpoint); !tokenizer) problems.push_back(tokenizer.error());
  if (auto generation = read_generation_config(checkpoint); !generation) problems.push_back(generation.error());
  return problems;
}

Json document(const Checkpoint& checkpoint, const Totals& totals, const std::vector<Error>& found,
              const InspectOptions& options) {
  Json out = {
      {"directory", checkpoint.directory()},
      {"runs", found.empty()},
      {"fingerprint", checkpoint.headers_only() ? Json() : Json(fmt::format("{:016x}", checkpoint.fingerprint()))},
      {"parameters", totals.parameters},
      {"mtp_parameters", totals.mtp_parameters},
      {"config", config_json(checkpoint.config())}};
  out["tokenizer"] = has_tokenizer(checkpoint);
  out["mtp"] = checkpoint.has_mtp();
  out["dspark"] = {{"present", checkpoint.config().has_dspark},
                   {"blocks", checkpoint.config().dspark_blocks},
                   {"tensors", checkpoint.draft().size()},
                   {"runs", false}};
  out["chat"] = {{"generation", generation_name(checkpoint.chat_generation())},
                 {"reason", checkpoint.chat_generation_reason()}};
  Json classes = Json::array(), dtypes = Json::array(), problems = Json::array(), shards = Json::array();
  for (const auto& [group, sum] : totals.by_class)
    classes.push_back({{"class", class_name(group)}, {"tensors", sum.tensors}, {"bytes", sum.bytes}});
  for (const auto& [name, sum] : totals.by_dtype)
    dtypes.push_back({{"dtype", name}, {"tensors", sum.tensors}, {"bytes", sum.bytes}});
  for (const Error& e : found) problems.push_back(e.what);
  for (const auto& s : checkpoint.shards())
    shards.push_back({{"file", s.file},
                      {"bytes", s.file_bytes},
                      {"tensors", s.content ? s.content->tensors().size() : 0},
                      {"complete", s.content && s.content->complete()}});
  out["tensors"] = {{"stored", totals.stored.tensors},
                    {"expected", totals.expected},
                    {"bytes", totals.stored.bytes},
                    {"by_class", classes},
                    {"by_dtype", dtypes}};
  out["files"] = {{"bytes", totals.file_bytes}, {"headers_only", checkpoint.headers_only()}, {"shards", shards}};
  out["problems"] = problems;
  out["ignored"] = checkpoint.ignored();
  out["draft"] = checkpoint.draft();
  out["unlisted"] = checkpoint.unlisted();
  if (options.tensors) {
    Json list = Json::array();
    for (const auto& [name, t] : checkpoint.stored())
      list.push_back({{"name", name},
                      {"dtype", dtype_name(t.dtype)},
                      {"shape", t.shape},
                      {"bytes", t.bytes},
                      {"file", checkpoint.shards()[t.shard].file}});
    out["tensor_list"] = list;
  }
  return out;
}

void print_model(const Checkpoint& checkpoint, const Totals& totals) {
  const ModelConfig& c = checkpoint.config();
  std::map<AttentionKind, std::vector<std::int64_t>> kinds;
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) kinds[c.kind(l)].push_back(l);
  std::vector<std::int64_t> hashed(static_cast<std::size_t>(c.num_hash_layers));
  std::iota(hashed.begin(), hashed.end(), 0);
  fmt::print("{}\n", checkpoint.directory());
  fmt::print("  model         DeepSeek-V4, {} layers, width {} in {} residual streams, vocabulary {}, context {}\n",
             c.num_hidden_layers, c.hidden_size, c.hc_mult, c.vocab_size, c.max_position_embeddings);
  fmt::print("  parameters    {}{}\n", count_text(totals.parameters),
             totals.mtp_parameters > 0 ? fmt::format(", MTP block {}", count_text(totals.mtp_parameters)) : "");
  fmt::print(
      "  attention     {} heads of {} ({} rotate), one key-value head; query rank {}; output in {} groups of rank {}; "
      "window {}\n",
      c.num_attention_heads, c.head_dim, c.qk_rope_head_dim, c.q_lora_rank, c.o_groups, c.o_lora_rank,
      c.sliding_window);
  for (const auto& [kind, layers] : kinds) {
    const char* what = kind == AttentionKind::kSwa   ? "sliding window only"
                       : kind == AttentionKind::kCsa ? "compressed by 4, sparse: the indexer picks entries"
                                                     : "heavily compressed, every entry attended";
    fmt::print("  {} layers    {} ({}): {}\n", kind_name(kind), layers.size(), layer_list(layers), what);
  }
  if (kinds.contains(AttentionKind::kCsa))
    fmt::print("  indexer       {} heads of {}, keeps {} entries\n", c.index_n_heads, c.index_head_dim, c.index_topk);
  fmt::print(
      "  experts       {} routed of width {}, {} per token scaled by {}, 1 shared; SwiGLU clamp {}; hash routing in "
      "{}\n",
      c.n_routed_experts, c.moe_intermediate_size, c.num_experts_per_tok, c.routed_scaling_factor,
      c.swiglu_limit > 0 ? fmt::format("{}", c.swiglu_limit) : "none",
      hashed.empty() ? "no layer" : fmt::format("layer{} {}", hashed.size() == 1 ? "" : "s", layer_list(hashed)));
  fmt::print("  MTP           {}\n", checkpoint.has_mtp() ? "one-step block" : "none");
  if (c.has_dspark)
    fmt::print("  DSpark draft  {} blocks, {} tensors: recognised, not run; the model runs without it\n",
               c.dspark_blocks, checkpoint.draft().size());
  fmt::print("  chat format   {} ({})\n", generation_name(checkpoint.chat_generation()),
             checkpoint.chat_generation_reason());
}

void print_tensors(const Checkpoint& checkpoint, const Totals& totals, const InspectOptions& options) {
  fmt::print("\n  {:20} {:>8} {:>10}\n", "tensors by class", "count", "size");
  for (const auto& [group, sum] : totals.by_class)
    fmt::print("  {:20} {:>8} {:>10}\n", class_name(group), sum.tensors, size_text(sum.bytes));
  fmt::print("  {:20} {:>8} {:>10}\n", "stored in all", totals.stored.tensors, size_text(totals.stored.bytes));
  std::string dtypes;
  for (const auto& [name, sum] : totals.by_dtype)
    dtypes += fmt::format("{}{} {}", dtypes.empty() ? "" : ", ", name, size_text(sum.bytes));
  fmt::print("\n  by dtype      {}\n", dtypes);
  fmt::print("  files         {} of {}{}\n", checkpoint.shards().size(), size_text(totals.file_bytes),
             checkpoint.headers_only() ? ", some without their data" : "");
  if (!checkpoint.ignored().empty())
    fmt::print("  ignored       {} redundant copies: {}\n", checkpoint.ignored().size(),
               fmt::join(checkpoint.ignored(), ", "));
  if (!checkpoint.unlisted().empty()) fmt::print("  not in index  {} tensors\n", checkpoint.unlisted().size());
  if (!checkpoint.headers_only()) fmt::print("  fingerprint   {:016x}\n", checkpoint.fingerprint());
  if (options.tensors) {
    fmt::print("\n");
    for (const auto& [name, t] : checkpoint.stored())
      fmt::print("  {:60} {:8} {:20} {:>10}  {}\n", name, dtype_name(t.dtype), shape_text(t.shape), size_text(t.bytes),
                 checkpoint.shards()[t.shard].file);
  }
}

}  // namespace

int run_inspect(const InspectOptions& options) {
  const auto opened = Checkpoint::open_for_inspection(options.directory);
  if (!opened) return report(opened.error());
  const Checkpoint& checkpoint = **opened;
  const Totals totals = add_up(checkpoint);
  const std::vector<Error> problems = all_problems(checkpoint);

  std::string digest;
  if (options.verify && checkpoint.problems().empty()) {
    const auto verified = verify_everything(checkpoint, totals);
    if (!verified) return report(verified.error());
    digest = fmt::format("{:016x}", *verified);
  }
  if (options.json) {
    Json out = document(checkpoint, totals, problems, options);
    if (!digest.empty()) out["verified"] = {{"digest", digest}};
    fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    print_model(checkpoint, totals);
    print_tensors(checkpoint, totals, options);
    if (!digest.empty()) fmt::print("  verified      every value read; content {}\n", digest);
    if (problems.empty())
      fmt::print("  table check   complete: all {} tensors there, of the right shape and type; hadal runs this{}\n",
                 totals.expected,
                 has_tokenizer(checkpoint) ? "" : " by token ids only, text needs the tokenizer.json of the release");
  }
  if (problems.empty()) return 0;
  constexpr std::size_t kShown = 20;  // enough to see the pattern; --json has them all
  if (!options.json) {
    std::fflush(stdout);
    for (std::size_t i = 0; i < std::min(kShown, problems.size()); ++i) note("  problem: {}\n", problems[i].what);
  }
  return report({problems.front().code,
                 fmt::format("{}: hadal cannot run this checkpoint: {} problem{}{}", checkpoint.directory(),
                             problems.size(), problems.size() == 1 ? "" : "s",
                             problems.size() > kShown ? ", the first 20 are shown, --json lists all" : "")});
}

}  // namespace hadal::cli
