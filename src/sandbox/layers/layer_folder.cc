#include "sandbox/layers/layer_folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "files/atomic_file.h"
#include "sandbox/digest.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace hadal::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLeastPrefix = 8;                        // digits of an id that may stand for it
constexpr std::uintmax_t kMostManifest = 1 << 20;              // as parse_layer_manifest has it
constexpr std::uintmax_t kMostMeta = std::uintmax_t{4} << 30;  // 32 bytes and more per file: a hundred million files

Result<std::string> read_file(const std::string& path, std::uintmax_t most) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return fail(ErrorCode::kNotFound, "{}: {}", path, error.message());
  if (size > most) return fail(ErrorCode::kBadInput, "{}: {} bytes are too many", path, size);
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

Status sync_path(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return fail(ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
  return {};
}

// The checksums of a blob's chunks, one after the other.
Result<std::string> chunk_table(const std::string& path, std::int64_t bytes) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
  std::string table, chunk(kLayerChunk, '\0');
  for (std::int64_t at = 0; at < bytes; at += kLayerChunk) {
    const auto want = static_cast<std::size_t>(std::min(kLayerChunk, bytes - at));
    std::size_t have = 0;
    while (have < want) {
      const ssize_t n = ::pread(fd.get(), chunk.data() + have, want - have, at + static_cast<off_t>(have));
      if (n == 0) return fail(ErrorCode::kBadInput, "{} ends at byte {}, before its {}", path, at, bytes);
      if (n < 0) return fail(ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
      have += static_cast<std::size_t>(n);
    }
    XXH128_canonical_t sum;
    XXH128_canonicalFromHash(&sum, XXH3_128bits(chunk.data(), want));
    table.append(reinterpret_cast<const char*>(sum.digest), sizeof sum.digest);
  }
  return table;
}

}  // namespace

Status check_layer_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._-:").find(c) != std::string_view::npos;
  };
  if (name.empty() || name.size() > 100 || name[0] == '.' || !std::all_of(name.begin(), name.end(), fits) ||
      is_layer_id(name))
    return fail(ErrorCode::kUsage,
                "layer name '{:.100}': use up to 100 letters, digits, '.', '_', '-' and ':', not beginning with a dot",
                name);
  return {};
}

Result<LayerFolder> LayerFolder::open(std::string folder) {
  std::error_code error;
  for (const char* part : {"/layers", "/names"}) {
    fs::create_directories(folder + part, error);
    if (error) return fail(ErrorCode::kIo, "cannot make {}{}: {}", folder, part, error.message());
  }
  fs::permissions(folder, fs::perms::owner_all, error);  // layers may hold what is not everyone's
  Fd lock(::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return fail(ErrorCode::kIo, "{}/lock: {}", folder, std::strerror(errno));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kBusy, "{} belongs to a running edge; ask that one, or stop it", folder);
  for (const auto& entry : fs::directory_iterator(folder + "/layers", error))
    if (entry.path().filename().string().starts_with(".")) fs::remove_all(entry.path(), error);
  return LayerFolder(std::move(folder), std::move(lock));
}

std::string LayerFolder::file_of(std::string_view id, std::string_view file) const {
  return fmt::format("{}/layers/{}/{}", folder_, id, file);
}

Result<std::string> LayerFolder::resolve(std::string_view word) const {
  std::error_code error;
  if (is_layer_id(word) && fs::exists(file_of(word, "manifest.json"), error)) return std::string(word);
  if (check_layer_name(word)) {
    const std::string path = fmt::format("{}/names/{}", folder_, word);
    if (fs::exists(path, error)) {
      const std::string id = HADAL_TRY(read_file(path, 64));
      if (!is_layer_id(id)) return fail(ErrorCode::kBadInput, "{} does not hold an id", path);
      return id;
    }
  }
  std::vector<std::string> found;
  if (word.size() >= kLeastPrefix)
    for (const auto& entry : fs::directory_iterator(folder_ + "/layers", error))
      if (const std::string id = entry.path().filename(); is_layer_id(id) && id.starts_with(word)) found.push_back(id);
  if (found.size() > 1) return fail(ErrorCode::kUsage, "{} layers begin with {}; give more digits", found.size(), word);
  if (found.empty())
    return fail(ErrorCode::kNotFound, "there is no layer '{:.100}'; 'hadal sandbox layer ls' lists them", word);
  return found[0];
}

Result<LayerManifest> LayerFolder::manifest(std::string_view id) const {
  const std::string path = file_of(id, "manifest.json");
  const std::string text = HADAL_TRY(read_file(path, kMostManifest));
  LayerManifest m = HADAL_TRY(parse_layer_manifest(text));
  if (m.id() != id) return fail(ErrorCode::kBadInput, "{} is damaged: it is not the manifest of this id", path);
  return m;
}

Result<std::vector<StoredLayer>> LayerFolder::list() const {
  std::error_code error;
  std::map<std::string, std::vector<std::string>> names;
  for (const auto& entry : fs::directory_iterator(folder_ + "/names", error))
    if (const auto id = read_file(entry.path(), 64)) names[*id].push_back(entry.path().filename());
  std::vector<StoredLayer> all;
  for (const auto& entry : fs::directory_iterator(folder_ + "/layers", error)) {
    const std::string id = entry.path().filename();
    if (!is_layer_id(id)) continue;
    auto m = manifest(id);
    if (!m) return std::unexpected(m.error());
    auto& own = names[id];
    std::sort(own.begin(), own.end());
    all.push_back({id, own, std::move(*m)});
  }
  std::sort(all.begin(), all.end(), [](const StoredLayer& a, const StoredLayer& b) {
    return std::pair(a.manifest.made, a.id) < std::pair(b.manifest.made, b.id);
  });
  return all;
}

Status LayerFolder::set_name(std::string_view name, std::string_view id) const {
  HADAL_CHECK_OK(check_layer_name(name));
  AtomicFile file = HADAL_TRY(AtomicFile::create(fmt::format("{}/names/{}", folder_, name), 0600));
  file.write(id.data(), id.size());
  return file.commit();
}

Status LayerFolder::verify(std::string_view id) const {
  const LayerManifest m = HADAL_TRY(manifest(id));
  const std::string meta = HADAL_TRY(read_file(meta_path(id), kMostMeta));
  if (static_cast<std::int64_t>(meta.size()) != m.meta_bytes || sha256_hex(meta) != m.meta_digest)
    return fail(ErrorCode::kBadInput, "{} is damaged", meta_path(id));
  const std::string path = file_of(id, "chunks.xxh");
  const std::string wanted = HADAL_TRY(read_file(path, static_cast<std::uintmax_t>(m.chunks()) * 16));
  if (sha256_hex(wanted) != m.chunks_digest) return fail(ErrorCode::kBadInput, "{} is damaged", path);
  const std::string table = HADAL_TRY(chunk_table(data_path(id), m.data_bytes));
  for (std::size_t i = 0; i < table.size(); i += 16)
    if (wanted.compare(i, 16, table, i, 16) != 0)
      return fail(ErrorCode::kBadInput, "{} is damaged in chunk {} of {}", data_path(id), i / 16, table.size() / 16);
  return {};
}

Status LayerFolder::remove(std::string_view id) const {
  const auto all = HADAL_TRY(list());
  for (const StoredLayer& other : all)
    if (std::find(other.manifest.parents.begin(), other.manifest.parents.end(), id) != other.manifest.parents.end())
      return fail(ErrorCode::kBusy, "layer {:.12} lies on it; remove that one first", other.id);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_ + "/names", error))
    if (const auto named = read_file(entry.path(), 64); named && *named == id) fs::remove(entry.path(), error);
  // First out of sight, so that a half removed layer is never found.
  const std::string gone = fmt::format("{}/layers/.gone-{}", folder_, id);
  fs::rename(fmt::format("{}/layers/{}", folder_, id), gone, error);
  if (error) return fail(ErrorCode::kIo, "layer {}: {}", id, error.message());
  fs::remove_all(gone, error);
  return {};
}

Result<std::string> LayerFolder::workplace() const {
  std::string path = folder_ + "/layers/.new-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return fail(ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
  return path;
}

Result<std::string> LayerFolder::add(const std::string& place, LayerManifest m) const {
  std::error_code error;
  const std::string meta = HADAL_TRY(read_file(place + "/meta.erofs", kMostMeta));
  m.meta_bytes = static_cast<std::int64_t>(meta.size());
  m.meta_digest = sha256_hex(meta);
  m.data_bytes = static_cast<std::int64_t>(fs::file_size(place + "/data.blob", error));
  if (error) return fail(ErrorCode::kIo, "{}/data.blob: {}", place, error.message());
  const std::string table = HADAL_TRY(chunk_table(place + "/data.blob", m.data_bytes));
  m.chunks_digest = sha256_hex(table);
  m.made = std::time(nullptr);
  const std::string id = m.id(), to = fmt::format("{}/layers/{}", folder_, id);
  if (fs::exists(to, error)) return id;
  const std::string made = HADAL_TRY(workplace());
  for (const char* name : {"/meta.erofs", "/data.blob"}) {
    fs::rename(place + name, made + name, error);
    if (error) return fail(ErrorCode::kIo, "{}{}: {}", made, name, error.message());
    HADAL_CHECK_OK(sync_path(made + name));
  }
  const auto put = [&](const char* name, const std::string& text) -> Status {
    AtomicFile file = HADAL_TRY(AtomicFile::create(made + name, 0600));
    file.write(text.data(), text.size());
    return file.commit();
  };
  HADAL_CHECK_OK(put("/chunks.xxh", table));
  HADAL_CHECK_OK(put("/manifest.json", to_json(m)));
  fs::rename(made, to, error);
  if (error) return fail(ErrorCode::kIo, "{}: {}", to, error.message());
  HADAL_CHECK_OK(sync_path(folder_ + "/layers"));
  return id;
}

}  // namespace hadal::sandbox
