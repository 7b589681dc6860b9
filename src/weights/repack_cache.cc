#include "weights/repack_cache.h"

#define XXH_INLINE_ALL
#include <sys/stat.h>
#include <xxhash.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "machine/thread_pool.h"

namespace hadal {
namespace {

// Fingerprints sample the content; name, size and time of the shards see the rest.
Result<std::uint64_t> identity(const Checkpoint& checkpoint, std::uint64_t fingerprint) {
  std::string text = fmt::format("{:016x}", fingerprint);
  for (const Checkpoint::Shard& shard : checkpoint.shards()) {
    struct stat info = {};
    const std::string path = checkpoint.files().path_of(shard.file);
    if (::stat(path.c_str(), &info) != 0)
      return fail(ErrorCode::kIo, "{}: cannot stat: {}", path, std::strerror(errno));
    text += fmt::format("\n{} {} {}.{:09}", shard.file, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
  }
  return XXH3_64bits(text.data(), text.size());
}

Status usable(const std::string& directory) {
  struct stat info = {};
  if (::mkdir(directory.c_str(), 0777) == 0) return {};
  if (errno != EEXIST)
    return fail(ErrorCode::kUsage, "{}: cannot make the directory: {}", directory, std::strerror(errno));
  if (::stat(directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode))
    return fail(ErrorCode::kUsage, "{}: is not a directory; name one for packed weights", directory);
  return {};
}

// Reads everything once: what holds is also in the page cache then.
bool holds(const CheckedBlob& blob) {
  std::atomic<bool> good{true};
  blob.map().advise(AccessHint::kWillNeed);
  ThreadPool pool(blob.chunks() > 1 ? 0 : 1);
  pool.for_each(blob.chunks(), [&](std::int64_t chunk, int) {
    if (good.load(std::memory_order_relaxed) && !blob.chunk_holds(chunk)) good.store(false, std::memory_order_relaxed);
  });
  return good.load();
}

Status pack(Loader& load, Arena& arena) {
  arena = HADAL_TRY(Arena::reserve(load.bytes(Loader::kDense)));
  return load.fill(Loader::kDense, arena.at(0));
}

}  // namespace

std::string repack_cache_path(std::uint64_t fingerprint, const std::string& directory) {
  return fmt::format("{}/{:016x}.packed", directory, fingerprint);
}

Status load_dense(Loader& load, const Checkpoint& checkpoint, std::uint64_t fingerprint, const std::string& directory,
                  Arena& arena, std::optional<CheckedBlob>& kept) {
  if (directory.empty()) return pack(load, arena);
  if (checkpoint.files().in_memory())
    return fail(ErrorCode::kUsage, "{} is part of the program and packed in milliseconds; leave out --repack-cache",
                checkpoint.directory());
  HADAL_CHECK_OK(usable(directory));
  const std::int64_t bytes = load.bytes(Loader::kDense);
  const std::uint64_t source = HADAL_TRY(identity(checkpoint, fingerprint));
  const BlobKey key{{'p', 'a', 'c', 'k', 'e', 'd', 'w', 't'}, source, load.arrangement()};
  const std::string path = repack_cache_path(fingerprint, directory);

  if (auto blob = CheckedBlob::open(path, key, bytes); !blob) {
    if (blob.error().code != ErrorCode::kNotFound)
      log_at(LogLevel::kWarn, "{}; packing the weights again", blob.error().what);
  } else if (!holds(*blob)) {
    log_at(LogLevel::kWarn, "{}: a checksum does not match; packing the weights again", path);
  } else {
    kept = std::move(*blob);
    load.adopt(kept->content().data());
    return {};
  }

  HADAL_CHECK_OK(pack(load, arena));
  // The model is ready all the same.
  if (auto written = CheckedBlob::write(path, key, {arena.at(0), static_cast<std::size_t>(bytes)}); !written)
    log_at(LogLevel::kWarn, "{}; the weights will be packed again at the next start", written.error().what);
  return {};
}

}  // namespace hadal
