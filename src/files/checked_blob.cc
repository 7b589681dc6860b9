#include "files/checked_blob.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "files/atomic_file.h"

namespace hadal {
namespace {

constexpr char kMagic[8] = {'H', 'A', 'D', 'A', 'L', 'B', 'L', 'B'};
constexpr std::uint32_t kVersion = 1;

// Little-endian, no padding between fields. The chunks' checksums follow, then the XXH3-64 of header and checksums.
struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t chunk_mib;
  char kind[8];
  std::uint64_t made_from, arrangement;
  std::uint64_t bytes;
};
static_assert(sizeof(Header) == 48);

std::int64_t content_offset(std::int64_t chunks) {
  return round_up(static_cast<std::int64_t>(sizeof(Header)) + 8 * chunks + 8, CheckedBlob::kAlign);
}

std::uint64_t chunk_sum(Bytes content, std::int64_t chunk) {
  const Bytes part = content.subspan(static_cast<std::size_t>(chunk * CheckedBlob::kChunk));
  return XXH3_64bits(part.data(), std::min(part.size(), static_cast<std::size_t>(CheckedBlob::kChunk)));
}

Header header_of(const BlobKey& key, std::uint64_t bytes) {
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.chunk_mib = static_cast<std::uint32_t>(CheckedBlob::kChunk >> 20);
  std::memcpy(h.kind, key.kind.data(), sizeof h.kind);
  h.made_from = key.made_from;
  h.arrangement = key.arrangement;
  h.bytes = bytes;
  return h;
}

}  // namespace

Status CheckedBlob::write(const std::string& path, const BlobKey& key, Bytes content) {
  const Header h = header_of(key, content.size());
  const std::int64_t chunks = ceil_div(static_cast<std::int64_t>(content.size()), kChunk);
  std::vector<std::byte> head(static_cast<std::size_t>(content_offset(chunks)));
  std::memcpy(head.data(), &h, sizeof h);
  std::byte* at = head.data() + sizeof h;
  for (std::int64_t c = 0; c < chunks; ++c, at += 8) {
    const std::uint64_t sum = chunk_sum(content, c);
    std::memcpy(at, &sum, 8);
  }
  const std::uint64_t sum = XXH3_64bits(head.data(), static_cast<std::size_t>(at - head.data()));
  std::memcpy(at, &sum, 8);
  AtomicFile file = HADAL_TRY(AtomicFile::create(path));
  file.write(head.data(), head.size());
  file.write(content.data(), content.size());
  return file.commit();
}

Result<CheckedBlob> CheckedBlob::open(const std::string& path, const BlobKey& key, std::int64_t bytes) {
  CheckedBlob blob;
  blob.map_ = HADAL_TRY(MappedFile::open(path));
  const Bytes all = blob.map_.bytes();
  Header h;
  if (all.size() < sizeof h || std::memcmp(all.data(), kMagic, sizeof kMagic) != 0)
    return fail(ErrorCode::kBadInput, "{}: is not a file of hadal", path);
  std::memcpy(&h, all.data(), sizeof h);
  if (h.version != kVersion || h.chunk_mib != static_cast<std::uint32_t>(kChunk >> 20))
    return fail(ErrorCode::kUnsupported, "{}: has format version {}, this hadal reads version {}", path, h.version,
                kVersion);
  // The file's own size bounds what its header may claim, before anything is computed from it.
  if (h.bytes > all.size()) return fail(ErrorCode::kBadInput, "{}: is cut off", path);
  const std::int64_t chunks = ceil_div(static_cast<std::int64_t>(h.bytes), kChunk);
  blob.offset_ = content_offset(chunks);
  blob.bytes_ = static_cast<std::int64_t>(h.bytes);
  if (all.size() != static_cast<std::uint64_t>(blob.offset_) + h.bytes)
    return fail(ErrorCode::kBadInput, "{}: has {} bytes, its header promises {}", path, all.size(),
                static_cast<std::uint64_t>(blob.offset_) + h.bytes);
  const std::size_t summed = sizeof h + 8 * static_cast<std::size_t>(chunks);
  std::uint64_t sum = 0;
  std::memcpy(&sum, all.data() + summed, 8);
  if (sum != XXH3_64bits(all.data(), summed))
    return fail(ErrorCode::kBadInput, "{}: the checksum of its header does not match", path);
  const Header wanted = header_of(key, static_cast<std::uint64_t>(bytes));
  if (std::memcmp(&h, &wanted, sizeof h) != 0)
    return fail(ErrorCode::kBadInput, "{}: was made from other weights or by another version of hadal", path);
  return blob;
}

bool CheckedBlob::chunk_holds(std::int64_t chunk) const {
  std::uint64_t stored = 0;
  std::memcpy(&stored, map_.bytes().data() + sizeof(Header) + 8 * chunk, 8);
  return chunk_sum(content(), chunk) == stored;
}

}  // namespace hadal
