#include "weights/checkpoint.h"

#include <simdjson.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "files/display_name.h"
#include "files/mapped_file.h"

namespace hadal {
namespace {

constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kEncodingFile = "encoding/encoding_dsv4.py";
constexpr std::string_view kConfigFile = "config.json";
constexpr std::uint64_t kMaxConfigBytes = 1 << 20;                  // releases: 2 KB
constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{256} << 20;  // Pro: 14 MB
constexpr std::uint64_t kMaxEncodingBytes = 4 << 20;                // releases: 30 KB

// tensor name -> shard file name
Result<std::map<std::string, std::string>> read_index(const FileSet& files) {
  namespace od = simdjson::ondemand;
  const std::string path = files.path_of(kIndexFile);
  const std::string text = HADAL_TRY(files.read_text(kIndexFile, kMaxIndexBytes));
  std::map<std::string, std::string> map;
  auto walk = [&]() -> simdjson::error_code {
    od::parser parser(kMaxIndexBytes);
    simdjson::padded_string padded(text);
    od::document document;
    if (auto e = parser.iterate(padded).get(document)) return e;
    od::object weights;
    if (auto e = document.find_field_unordered("weight_map").get_object().get(weights)) return e;
    for (auto item : weights) {
      od::field field;
      if (auto e = std::move(item).get(field)) return e;
      std::string_view name, file;
      if (auto e = field.unescaped_key().get(name)) return e;
      std::string owned(name);
      if (auto e = field.value().get_string().get(file)) return e;
      map[std::move(owned)] = std::string(file);
    }
    return simdjson::SUCCESS;
  };
  if (auto error = walk())
    return fail(ErrorCode::kBadInput, "{}: no readable weight_map ({}); fetch it again", path,
                simdjson::error_message(error));
  if (map.empty()) return fail(ErrorCode::kBadInput, "{}: weight_map is empty; fetch it again", path);
  for (const auto& [name, file] : map)
    if (file.empty() || file.size() > 255 || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos || file.starts_with('.'))
      return fail(ErrorCode::kBadInput, "{}: tensor '{}' is in file '{}', which is not a plain file name", path,
                  display_name(name), display_name(file));
  return map;
}

}  // namespace

ChatGeneration detect_chat_generation(std::string_view text, std::string* reason) {
  bool prompts = false, low = false, max = false;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    // Only assignments at the start of a line are at top level.
    const auto name_end = line.find_first_of(" =:");
    if (name_end == std::string_view::npos || line.find('=') == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, name_end);
    const std::string_view value = line.substr(line.find('=') + 1);
    prompts = prompts || name == "REASONING_EFFORT_PROMPTS";
    max = max || name == "REASONING_EFFORT_MAX";
    low = low || (name == "DEFAULT_REASONING_EFFORT" &&
                  (value.find("\"low\"") != std::string_view::npos || value.find("'low'") != std::string_view::npos));
  }
  const bool is_0731 = prompts && low;
  if (reason) {
    if (is_0731)
      *reason = "encoding/encoding_dsv4.py has REASONING_EFFORT_PROMPTS and the default \"low\"";
    else if (max)
      *reason = "encoding/encoding_dsv4.py has REASONING_EFFORT_MAX";
    else
      *reason = "encoding/encoding_dsv4.py names no generation, and preview is the default";
  }
  return is_0731 ? ChatGeneration::k0731 : ChatGeneration::kPreview;
}

Checkpoint::Checkpoint(FileSet files, ModelConfig config)
    : files_(std::move(files)), config_(std::move(config)), table_(config_) {}

Result<std::shared_ptr<const Checkpoint>> Checkpoint::open_for_inspection(FileSet files) {
  HADAL_CHECK_OK(files.usable());
  if (!files.contains(kConfigFile))
    return fail(ErrorCode::kNotFound, "{}: no config.json; name a checkpoint directory in the release layout",
                files.label());
  const std::string text = HADAL_TRY(files.read_text(kConfigFile, kMaxConfigBytes));
  ModelConfig config = HADAL_TRY(parse_config(text, files.path_of(kConfigFile)));

  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint(std::move(files), std::move(config)));
  HADAL_CHECK_OK(checkpoint->read_shards());
  checkpoint->check_tensors();
  checkpoint->read_chat_generation();
  return checkpoint;
}

Result<std::shared_ptr<const Checkpoint>> Checkpoint::open(FileSet files) {
  auto checkpoint = HADAL_TRY(open_for_inspection(std::move(files)));
  const auto& problems = checkpoint->problems();
  if (problems.empty()) return checkpoint;
  Error first = problems.front();
  if (problems.size() > 1)
    first.what += fmt::format(" ({} more like this; 'hadal inspect' lists them)", problems.size() - 1);
  return std::unexpected(std::move(first));
}

Status Checkpoint::read_shards() {
  const bool indexed = files_.contains(kIndexFile);
  std::map<std::string, std::string> index;
  std::set<std::string> files;
  if (indexed) {
    index = HADAL_TRY(read_index(files_));
    for (const auto& [name, file] : index) files.insert(file);
  } else if (files_.contains(kSingleFile)) {
    files.insert(std::string(kSingleFile));
  } else {
    return fail(ErrorCode::kNotFound, "{}: neither {} nor {} is there; fetch the weights of this checkpoint",
                directory(), kIndexFile, kSingleFile);
  }

  for (const auto& file : files) {
    Shard shard;
    shard.file = file;
    const std::string path = files_.path_of(file);
    auto content = [&]() -> Result<SafetensorsFile> {
      return SafetensorsFile::open(HADAL_TRY(files_.open(file)), SafetensorsFile::Data::kHeaderOnly);
    }();
    if (content) {
      shard.file_bytes = content->map().size();
      shard.content = std::make_unique<SafetensorsFile>(std::move(*content));
      if (!shard.content->complete()) headers_only_ = true;
    } else if (content.error().code == ErrorCode::kNotFound) {
      problems_.push_back({ErrorCode::kNotFound, fmt::format("{}: the shard is missing; fetch it", path)});
    } else {
      problems_.push_back(content.error());
    }
    shards_.push_back(std::move(shard));
  }

  for (std::size_t s = 0; s < shards_.size(); ++s) {
    if (!shards_[s].content) continue;
    for (const TensorInfo& t : shards_[s].content->tensors()) {
      if (indexed) {
        auto entry = index.find(t.name);
        if (entry == index.end() || entry->second != shards_[s].file) {
          unlisted_.push_back(t.name);
          continue;
        }
        index.erase(entry);
      }
      StoredTensor stored{release_name(t.name), t.name, s, t.dtype, t.shape, t.bytes(), shards_[s].content->data(t)};
      const std::string name = stored.name;
      const auto [it, fresh] = stored_.emplace(name, std::move(stored));
      if (!fresh)
        problems_.push_back(
            {ErrorCode::kBadInput,
             fmt::format("{}/{}: tensors '{}' and '{}' are both '{}'", directory(), shards_[s].file,
                         display_name(it->second.stored_name), display_name(t.name), display_name(name))});
    }
  }
  // What the index promised and an opened shard does not hold.
  for (const auto& [name, file] : index) {
    auto shard = std::find_if(shards_.begin(), shards_.end(), [&](const Shard& s) { return s.file == file; });
    if (shard->content)
      problems_.push_back({ErrorCode::kNotFound,
                           fmt::format("{}/{}: tensor '{}' is not in the file although {} says so; fetch both again",
                                       directory(), file, display_name(name), kIndexFile)});
  }
  return {};
}

// One row of the table against what is stored: dtype, shape, scale.
void Checkpoint::check_tensor(const TensorSpec& spec) {
  const StoredTensor& weight = stored_.find(spec.name)->second;
  const std::string where =
      fmt::format("{}/{}: tensor '{}'", directory(), shards_[weight.shard].file, display_name(weight.stored_name));
  auto complain = [&](ErrorCode code, std::string what) {
    problems_.push_back({code, fmt::format("{} {}", where, what)});
  };

  const auto form = stored_form(spec, weight.dtype, config_.weight_block_size);
  if (!form) {
    complain(ErrorCode::kUnsupported,
             fmt::format("is {}, expected {}", dtype_name(weight.dtype), storage_dtypes(spec.storage)));
    return;
  }
  if (form->shape != weight.shape) {
    complain(ErrorCode::kBadInput,
             fmt::format("has shape {}, config.json asks for {}", shape_text(weight.shape), shape_text(form->shape)));
    return;
  }
  if (!form->has_scale) return;
  const auto scale = stored_.find(spec.scale_name());
  if (scale == stored_.end()) {
    complain(ErrorCode::kNotFound, fmt::format("is {} but its scale '{}' is missing; fetch the checkpoint again",
                                               dtype_name(weight.dtype), spec.scale_name()));
    return;
  }
  const StoredTensor& s = scale->second;
  if (s.dtype != DType::kE8M0 && !(s.dtype == DType::kF32 && form->scale_may_be_f32))
    complain(ErrorCode::kUnsupported, fmt::format("has a scale of {}, expected {}", dtype_name(s.dtype),
                                                  form->scale_may_be_f32 ? "F8_E8M0 or F32" : "F8_E8M0"));
  else if (s.shape != form->scale_shape)
    complain(ErrorCode::kBadInput,
             fmt::format("has a scale of shape {}, expected {}", shape_text(s.shape), shape_text(form->scale_shape)));
}

void Checkpoint::check_tensors() {
  std::set<std::string, std::less<>> known;
  std::vector<const TensorSpec*> missing_mtp;
  std::size_t found_mtp = 0;
  for (const TensorSpec& spec : table_.tensors()) {
    const auto it = stored_.find(spec.name);
    if (it != stored_.end()) {
      known.insert(spec.name);
      const auto form = stored_form(spec, it->second.dtype, config_.weight_block_size);
      if (form && form->has_scale) known.insert(spec.scale_name());
      if (spec.presence == Presence::kIgnored) {
        ignored_.push_back(spec.name);
        continue;
      }
      if (spec.presence == Presence::kMtp) ++found_mtp;
      check_tensor(spec);
    } else if (spec.presence == Presence::kRequired) {
      problems_.push_back(
          {ErrorCode::kNotFound,
           fmt::format("{}: tensor '{}' is missing; the download is incomplete or config.json is of another model",
                       directory(), spec.name)});
    } else if (spec.presence == Presence::kMtp) {
      missing_mtp.push_back(&spec);
    }
  }
  has_mtp_ = found_mtp > 0 && missing_mtp.empty();
  if (found_mtp > 0)
    for (const TensorSpec* spec : missing_mtp)
      problems_.push_back({ErrorCode::kNotFound,
                           fmt::format("{}: tensor '{}' is missing although other tensors of the MTP block are there",
                                       directory(), spec->name)});
  for (const auto& [name, tensor] : stored_) {
    if (known.contains(name)) continue;
    if (is_draft_tensor(name, config_)) {
      draft_.push_back(name);
      continue;
    }
    problems_.push_back({ErrorCode::kUnsupported,
                         fmt::format("{}/{}: tensor '{}' is not one of DeepSeek-V4 with this config.json", directory(),
                                     shards_[tensor.shard].file, display_name(tensor.stored_name))});
  }
  for (const Shard& shard : shards_)
    if (shard.content && !shard.content->complete())
      problems_.push_back(
          {ErrorCode::kBadInput,
           fmt::format("{}/{}: the file has {} bytes and its header asks for more; it is truncated, fetch it again",
                       directory(), shard.file, shard.file_bytes)});
}

void Checkpoint::read_chat_generation() {
  if (!files_.contains(kEncodingFile)) {
    chat_generation_reason_ = fmt::format("there is no {}, and preview is the default", kEncodingFile);
    return;
  }
  auto text = files_.read_text(kEncodingFile, kMaxEncodingBytes);
  if (!text) {
    chat_generation_reason_ = fmt::format("{} is not readable, and preview is the default", kEncodingFile);
    return;
  }
  chat_generation_ = detect_chat_generation(*text, &chat_generation_reason_);
}

Result<const StoredTensor*> Checkpoint::find(std::string_view name) const {
  const auto it = stored_.find(name);
  if (it == stored_.end()) return fail(ErrorCode::kNotFound, "{}: no tensor '{}'", directory(), display_name(name));
  return &it->second;
}

}  // namespace hadal
