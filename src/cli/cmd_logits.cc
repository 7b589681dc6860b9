// hadal logits: the logits of given ids under a chosen arithmetic, for conformance tests.
#include <simdjson.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>

#include "cache/sequence.h"
#include "cache/working_memory.h"
#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/report.h"
#include "files/safetensors.h"
#include "model/reference_model.h"
#include "weights/arena.h"
#include "weights/checkpoint.h"

namespace hadal::cli {
namespace {

constexpr std::uint64_t kMostIdBytes = std::uint64_t{64} << 20;  // a million ids take 8 MB
constexpr std::int64_t kMostPiece = 16384;                       // scratch memory grows with the piece
constexpr std::int64_t kPlacedContext = 32768;                   // tokens beside which experts find their place
constexpr std::int64_t kReferencePiece = 64;                     // often enough for the progress bar and Ctrl-C

Result<std::vector<TokenId>> read_ids(const std::string& path, const ModelConfig& config) {
  const MappedFile file = HADAL_TRY(MappedFile::open(path));
  if (file.size() > kMostIdBytes)
    return fail(ErrorCode::kBadInput, "{}: {} bytes are more than a list of token ids can have", path, file.size());
  simdjson::dom::parser parser;
  simdjson::dom::array list;
  // An empty file has no bytes to point at, and the parser copies from what it is given.
  if (file.size() == 0 || parser.parse(reinterpret_cast<const char*>(file.bytes().data()), file.size()).get(list))
    return fail(ErrorCode::kBadInput, "{}: not a JSON list of token ids, like [0, 17, 4]", path);
  if (list.begin() == list.end())
    return fail(ErrorCode::kBadInput, "{}: the list of token ids is empty; give at least one", path);
  std::vector<TokenId> ids;
  for (simdjson::dom::element element : list) {
    std::int64_t id = -1;
    if (element.get(id) || id < 0 || id >= config.vocab_size)
      return fail(ErrorCode::kUsage, "{}: item {} is {}, not a token id of the vocabulary (0 to {})", path, ids.size(),
                  simdjson::minify(element).substr(0, 40), config.vocab_size - 1);
    ids.push_back(static_cast<TokenId>(id));
  }
  if (static_cast<std::int64_t>(ids.size()) > config.max_position_embeddings)
    return fail(ErrorCode::kUsage, "{}: {} tokens exceed the model's context of {}; shorten the list", path, ids.size(),
                config.max_position_embeddings);
  return ids;
}

struct FrequencyTables {
  std::vector<float> plain, compressed;  // empty: the engine computes them
};

Result<std::vector<float>> read_floats(const SafetensorsFile& file, std::string_view name, std::int64_t count) {
  const TensorInfo* info = file.find(name);
  if (!info) return fail(ErrorCode::kNotFound, "{}: there is no tensor '{}'", file.path(), name);
  if (info->dtype != DType::kF32 || info->shape != std::vector<std::int64_t>{count})
    return fail(ErrorCode::kBadInput, "{}: tensor '{}' is {} {}, this model needs F32 [{}]", file.path(), name,
                dtype_name(info->dtype), shape_text(info->shape), count);
  std::vector<float> values(static_cast<std::size_t>(count));
  std::memcpy(values.data(), file.data(*info).data(), info->bytes());
  return values;
}

Result<FrequencyTables> read_tables(const std::string& path, const ModelConfig& config) {
  if (path.empty()) return FrequencyTables{};
  const SafetensorsFile file = HADAL_TRY(SafetensorsFile::open(path));
  FrequencyTables tables;
  tables.plain = HADAL_TRY(read_floats(file, "rope.inv_freq_plain", config.qk_rope_head_dim / 2));
  tables.compressed = HADAL_TRY(read_floats(file, "rope.inv_freq_compressed", config.qk_rope_head_dim / 2));
  return tables;
}

// An engine as this command sees it: feeds the next tokens, writes their logits [n][vocab] and, unless `mtp` is null,
// the MTP rows that these tokens complete.
struct Engine {
  std::function<Status(std::span<const TokenId> ids, float* logits, float* mtp)> feed;
  std::int64_t preferred_piece = 0;
};

Result<Engine> reference_engine(const Checkpoint& checkpoint, const LogitsOptions& options, FrequencyTables tables) {
  if (!options.repack_cache.empty())
    return fail(ErrorCode::kUsage, "--numerics reference packs no weights; leave out --repack-cache");
  ReferenceOptions wanted;
  wanted.round_cache = !options.no_round_cache;
  wanted.round_inputs = options.round_inputs;
  wanted.mtp = options.mtp;
  wanted.threads = options.threads;
  wanted.plain_frequencies = std::move(tables.plain);
  wanted.compressed_frequencies = std::move(tables.compressed);
  ReferenceModel loaded = HADAL_TRY(ReferenceModel::load(checkpoint, std::move(wanted)));
  auto model = std::make_shared<ReferenceModel>(std::move(loaded));
  auto feed = [model](std::span<const TokenId> ids, float* logits, float* mtp) -> Status {
    const ReferenceLogits rows = HADAL_TRY(model->feed(ids));
    std::copy(rows.main.begin(), rows.main.end(), logits);  // rounded to the float32 of the file
    if (mtp) std::copy(rows.mtp.begin(), rows.mtp.end(), mtp);
    return {};
  };
  return Engine{feed, kReferencePiece};
}

Result<Engine> float_engine(std::shared_ptr<const Checkpoint> checkpoint, const LogitsOptions& options,
                            FrequencyTables tables) {
  ModelOptions wanted;
  wanted.numerics.fast = options.numerics == "trained";
  wanted.numerics.round_cache = !options.no_round_cache;
  wanted.numerics.round_inputs = options.round_inputs;
  wanted.threads = options.threads;
  wanted.plain_frequencies = std::move(tables.plain);
  wanted.compressed_frequencies = std::move(tables.compressed);
  const std::int64_t context = std::min<std::int64_t>(kPlacedContext, checkpoint->config().max_position_embeddings);
  const ExpertPlacement placement = place_experts(checkpoint->config(), wanted, context, options.expert_memory);
  ModelWeights weights = HADAL_TRY(load_weights(std::move(checkpoint), placement, options.repack_cache));
  const std::shared_ptr<Model> model = HADAL_TRY(Model::create(std::move(weights), std::move(wanted)));
  Sequence empty = HADAL_TRY(Sequence::create(model, options.mtp));
  auto sequence = std::make_shared<Sequence>(std::move(empty));
  auto feed = [sequence](std::span<const TokenId> ids, float* logits, float* mtp) {
    FeedOutputs outputs;
    outputs.all_logits = logits;
    outputs.mtp_logits = mtp;
    return sequence->feed(ids, outputs);
  };
  return Engine{feed, model->preferred_step()};
}

Status check_usage(const LogitsOptions& options) {
  if (options.threads < 0)
    return fail(ErrorCode::kUsage, "--threads is {}, it must be 1 or more (0: all cores)", options.threads);
  for (std::int64_t chunk : options.chunks)
    if (chunk < 1 || chunk > kMostPiece)
      return fail(ErrorCode::kUsage, "--chunks has a piece of {} tokens, pieces are 1 to {} tokens", chunk, kMostPiece);
  // Said now rather than after the work.
  std::error_code unknown;
  if (std::filesystem::exists(options.out, unknown) && !std::filesystem::is_regular_file(options.out, unknown))
    return fail(ErrorCode::kUsage, "{}: is a folder, device or pipe; give --out the name of a file", options.out);
  const std::filesystem::path folder = std::filesystem::path(options.out).parent_path();
  std::error_code ignored;
  if (!folder.empty() && !std::filesystem::is_directory(folder, ignored))
    return fail(ErrorCode::kUsage, "{}: there is no folder of that name to write --out in; create it", folder.string());
  return {};
}

// Rows of logits as they will be in the file; the memory is asked for once, after a look at what there is.
Result<std::vector<float>> logit_rows(std::int64_t rows, std::int64_t vocab, std::string_view name) {
  const std::int64_t bytes = rows * vocab * static_cast<std::int64_t>(sizeof(float));  // at most 2^20 rows of 2^31 / 4
  if (const std::int64_t available = available_memory_bytes(); available >= 0 && bytes > available)
    return fail(ErrorCode::kNoMemory, "'{}' of {} rows takes {:.1f} GB, {:.1f} GB are free; give fewer ids", name, rows,
                static_cast<double>(bytes) * 1e-9, static_cast<double>(available) * 1e-9);
  return std::vector<float>(static_cast<std::size_t>(rows * vocab));
}

Bytes bytes_of(const std::vector<float>& values) { return std::as_bytes(std::span(values)); }

Status logits(const LogitsOptions& options) {
  HADAL_CHECK_OK(check_usage(options));
  const auto checkpoint = HADAL_TRY(Checkpoint::open(model_files(options.model)));
  const ModelConfig& config = checkpoint->config();
  if (options.mtp && !checkpoint->has_mtp())
    return fail(ErrorCode::kUnsupported, "{}: no one-step MTP block in this checkpoint, leave out --mtp",
                checkpoint->directory());
  const std::vector<TokenId> ids = HADAL_TRY(read_ids(options.ids, config));
  FrequencyTables tables = HADAL_TRY(read_tables(options.rope_table, config));

  const auto count = static_cast<std::int64_t>(ids.size()), vocab = config.vocab_size;
  std::vector<float> main = HADAL_TRY(logit_rows(count, vocab, "logits"));
  std::vector<float> mtp = HADAL_TRY(logit_rows(options.mtp ? count - 1 : 0, vocab, "mtp"));
  const Engine engine =
      HADAL_TRY(options.numerics == "reference" ? reference_engine(*checkpoint, options, std::move(tables))
                                                : float_engine(checkpoint, options, std::move(tables)));

  Progress progress("logits", "tokens", count);
  std::int64_t done = 0;
  for (std::size_t piece = 0; done < count; ++piece) {
    if (interrupted())
      return fail(ErrorCode::kCancelled, "interrupted after {} of {} tokens; {} was not written", done, count,
                  options.out);
    const std::int64_t wanted =
        options.chunks.empty() ? engine.preferred_piece : options.chunks[piece % options.chunks.size()];
    const std::int64_t size = std::min(wanted, count - done);
    // The MTP row of a token waits for the token after it, so rows lag one behind.
    float* mtp_rows = options.mtp ? mtp.data() + std::max<std::int64_t>(0, done - 1) * vocab : nullptr;
    HADAL_CHECK_OK(engine.feed(std::span(ids).subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(size)),
                               main.data() + done * vocab, mtp_rows));
    done += size;
    progress.update(done);
  }
  progress.finish();

  SafetensorsWriter out;
  out.set_metadata("numerics", options.numerics);
  HADAL_CHECK_OK(out.add("logits", DType::kF32, {count, vocab}, bytes_of(main)));
  if (options.mtp) HADAL_CHECK_OK(out.add("mtp", DType::kF32, {count - 1, vocab}, bytes_of(mtp)));
  return out.write(options.out);
}

}  // namespace

int run_logits(const LogitsOptions& options) {
  const Status status = logits(options);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
