#include "cache/page_files.h"

#define XXH_STATIC_LINKING_ONLY
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxh_x86dispatch.h>  // twice the speed of inlined SSE2, which restoring would wait for

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <tuple>

#include "base/log.h"
#include "cache/live_parts.h"
#include "files/atomic_file.h"

namespace hadal {
namespace {

constexpr char kMagic[8] = {'H', 'A', 'D', 'A', 'L', 'K', 'V', 'P'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kBoundary = 1, kHasState = 2, kBorder = 4;
constexpr std::int64_t kReadPiece = std::int64_t{256} << 10;  // a part of any second-level cache
constexpr std::int64_t kAlign = 4096;  // of the payload, so that it can be read past the page cache

// Little-endian, no padding between fields. The ids follow, then the XXH3-128 of header and ids.
struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t flags;
  CacheIdentity identity;
  std::uint64_t start;
  std::uint64_t ids;
  std::uint64_t payload_bytes;
  CacheKey parent, key, payload_sum;
};
static_assert(sizeof(CacheIdentity) == 48 && sizeof(Header) == 136);

CacheKey canonical(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  CacheKey key;
  std::memcpy(key.data(), bytes.digest, key.size());
  return key;
}

CacheKey sum_of(Bytes bytes) { return canonical(XXH3_128bits(bytes.data(), bytes.size())); }

std::int64_t summed_bytes(std::uint64_t ids) {
  return static_cast<std::int64_t>(sizeof(Header) + ids * sizeof(TokenId));
}

std::int64_t offset_of_payload(std::uint64_t ids) {
  return round_up(summed_bytes(ids) + static_cast<std::int64_t>(sizeof(CacheKey)), kAlign);
}

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  bool ok() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  // Reads until `bytes` or the end of the file; gives what came, -1 on an error.
  std::int64_t read_at(std::byte* to, std::int64_t bytes, std::int64_t offset) const {
    std::int64_t got = 0;
    while (got < bytes) {
      const ssize_t n = ::pread(fd_, to + got, static_cast<std::size_t>(bytes - got), offset + got);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return -1;
      if (n == 0) break;
      got += n;
    }
    return got;
  }

 private:
  int fd_;
};

Result<CacheFileHead> read_head(const Descriptor& file, const std::string& path, const CacheIdentity& identity,
                                const CacheLayout& layout, std::int64_t vocab_size) {
  struct stat info;
  if (!file.ok() || ::fstat(file.fd(), &info) != 0)
    return fail(ErrorCode::kIo, "cannot open {}: {}", path, std::strerror(errno));
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(offset_of_payload(static_cast<std::uint64_t>(layout.page_tokens))));
  const std::int64_t got = file.read_at(bytes.data(), static_cast<std::int64_t>(bytes.size()), 0);
  if (got < 0) return fail(ErrorCode::kIo, "cannot read {}: {}", path, std::strerror(errno));
  CacheFileHead head = HADAL_TRY(
      parse_head(Bytes(bytes).first(static_cast<std::size_t>(got)), info.st_size, identity, layout, vocab_size, path));
  head.modified_ns = static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
  return head;
}

}  // namespace

CacheKey root_key(const CacheIdentity& identity) { return sum_of(std::as_bytes(std::span(&identity, 1))); }

CacheKey next_key(const CacheKey& parent, std::span<const TokenId> ids, bool boundary) {
  std::vector<std::byte> bytes(parent.size() + 1 + ids.size_bytes());
  std::memcpy(bytes.data(), parent.data(), parent.size());
  bytes[parent.size()] = std::byte{boundary};
  if (!ids.empty()) std::memcpy(bytes.data() + parent.size() + 1, ids.data(), ids.size_bytes());
  return sum_of(bytes);
}

void set_payload_place(const CacheLayout& layout, CacheFileHead& head) {
  head.payload_offset = offset_of_payload(head.ids.size());
  head.payload_bytes = layout.page_bytes;
  if (head.boundary)
    head.payload_bytes = (head.has_state ? state_image_bytes(layout, head.length()) : 0) +
                         row_image_bytes(layout, static_cast<Position>(head.ids.size()));
}

std::vector<std::byte> make_head(const CacheIdentity& identity, CacheFileHead head, Bytes payload) {
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.flags = (head.boundary ? kBoundary : 0) | (head.has_state ? kHasState : 0) | (head.border ? kBorder : 0);
  h.identity = identity;
  h.start = static_cast<std::uint64_t>(head.start);
  h.ids = head.ids.size();
  h.payload_bytes = payload.size();
  h.parent = head.parent;
  h.key = head.key;
  h.payload_sum = sum_of(payload);
  std::vector<std::byte> out(static_cast<std::size_t>(offset_of_payload(h.ids)));
  std::memcpy(out.data(), &h, sizeof h);
  if (h.ids) std::memcpy(out.data() + sizeof h, head.ids.data(), h.ids * sizeof(TokenId));
  const auto summed = static_cast<std::size_t>(summed_bytes(h.ids));
  const CacheKey sum = sum_of(Bytes(out).first(summed));
  std::memcpy(out.data() + summed, sum.data(), sum.size());
  return out;
}

Result<CacheFileHead> parse_head(Bytes file, std::int64_t file_bytes, const CacheIdentity& identity,
                                 const CacheLayout& layout, std::int64_t vocab_size, const std::string& name) {
  Header h;
  if (file.size() < sizeof h || std::memcmp(file.data(), kMagic, sizeof kMagic) != 0)
    return fail(ErrorCode::kBadInput, "{} is not a cache page of hadal", name);
  std::memcpy(&h, file.data(), sizeof h);
  if (h.version != kVersion)
    return fail(ErrorCode::kUnsupported, "{} has format version {}, this hadal reads version {}", name, h.version,
                kVersion);
  const auto page = static_cast<std::uint64_t>(layout.page_tokens);
  // The count bounds what is read next; it is believed only as far as a page and the file go.
  if (h.ids > page || file.size() < static_cast<std::size_t>(offset_of_payload(h.ids)))
    return fail(ErrorCode::kBadInput, "{} is damaged or cut off", name);
  const auto summed = static_cast<std::size_t>(summed_bytes(h.ids));
  if (std::memcmp(sum_of(file.first(summed)).data(), file.data() + summed, sizeof(CacheKey)) != 0)
    return fail(ErrorCode::kBadInput, "{}: the checksum of its head does not match; it is damaged", name);
  if (h.identity != identity)
    return fail(ErrorCode::kNotFound, "{} was made with other weights or another --numerics setting", name);

  CacheFileHead head;
  head.boundary = h.flags & kBoundary;
  head.has_state = h.flags & kHasState;
  head.border = h.flags & kBorder;
  head.parent = h.parent;
  head.key = h.key;
  head.payload_sum = h.payload_sum;
  if (h.start % page != 0 || h.start > (std::uint64_t{1} << 40) || (head.boundary ? h.ids == page : h.ids != page) ||
      (!head.boundary && (h.flags & (kHasState | kBorder))) || h.start + h.ids == 0)
    return fail(ErrorCode::kBadInput, "{} holds {} tokens from {}, which no file of its kind does", name, h.ids,
                h.start);
  head.start = static_cast<Position>(h.start);
  head.ids.resize(h.ids);
  if (h.ids) std::memcpy(head.ids.data(), file.data() + sizeof h, h.ids * sizeof(TokenId));
  for (TokenId id : head.ids)
    if (to_int(id) < 0 || to_int(id) >= vocab_size)
      return fail(ErrorCode::kBadInput, "{} holds token id {}, outside the vocabulary", name, to_int(id));
  if (next_key(head.parent, head.ids, head.boundary) != head.key)
    return fail(ErrorCode::kBadInput, "{} does not have the key of its tokens", name);
  set_payload_place(layout, head);
  if (h.payload_bytes != static_cast<std::uint64_t>(head.payload_bytes) ||
      file_bytes != head.payload_offset + head.payload_bytes)
    return fail(ErrorCode::kBadInput, "{} has {} bytes, {} were expected; it is damaged or cut off", name, file_bytes,
                head.payload_offset + head.payload_bytes);
  return head;
}

bool payload_holds(const CacheFileHead& head, Bytes payload) {
  return payload.size() == static_cast<std::size_t>(head.payload_bytes) && sum_of(payload) == head.payload_sum;
}

Result<std::unique_ptr<PageFolder>> PageFolder::open(const std::string& path, const CacheIdentity& identity,
                                                     const CacheLayout& layout, std::int64_t vocab_size) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail(ErrorCode::kIo, "cannot make the folder {}: {}", path, error.message());
  std::unique_ptr<PageFolder> folder(new PageFolder(path, identity, layout, vocab_size));
  const std::string lock = path + "/lock";
  folder->lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (folder->lock_ < 0) return fail(ErrorCode::kIo, "cannot write {}: {}", lock, std::strerror(errno));
  if (::flock(folder->lock_, LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kBusy, "{} is in use by another hadal; give each its own data folder", path);
  return folder;
}

PageFolder::~PageFolder() {
  if (lock_ >= 0) ::close(lock_);
}

Result<std::vector<CacheFileHead>> PageFolder::scan() {
  std::vector<CacheFileHead> heads;
  std::error_code error;
  std::filesystem::directory_iterator at(path_, error), end;
  for (; !error && at != end; at.increment(error)) {
    const std::string path = at->path().string(), suffix = at->path().extension().string();
    if (suffix == ".partial") ::unlink(path.c_str());  // ours: nobody else writes here while the lock is held
    if (suffix != ".page" && suffix != ".tail") continue;
    const Descriptor file(path);
    auto head = read_head(file, path, identity_, layout_, vocab_size_);
    if (head && path_of(*head) != path)
      head = fail(ErrorCode::kBadInput, "{} does not have the name of its content", path);
    if (head) {
      heads.push_back(std::move(*head));
    } else if (head.error().code != ErrorCode::kNotFound && head.error().code != ErrorCode::kIo) {
      log_at(LogLevel::kWarn, "{}; removed, its tokens will be computed again", head.error().what);
      ::unlink(path.c_str());
      ++removed_;
    }
  }
  if (error) return fail(ErrorCode::kIo, "cannot list {}: {}", path_, error.message());
  std::sort(heads.begin(), heads.end(), [](const CacheFileHead& a, const CacheFileHead& b) {
    return std::tie(a.modified_ns, a.key) < std::tie(b.modified_ns, b.key);
  });
  return heads;
}

std::string PageFolder::path_of(const CacheFileHead& head) const {
  std::string name = path_ + "/";
  for (std::uint8_t byte : head.key) name += fmt::format("{:02x}", byte);
  return name + (head.boundary ? ".tail" : ".page");
}

Status PageFolder::write(const CacheFileHead& head, Bytes payload) const {
  const std::vector<std::byte> front = make_head(identity_, head, payload);
  AtomicFile file = HADAL_TRY(AtomicFile::create(path_of(head), 0600));
  file.write(front.data(), front.size());
  file.write(payload.data(), payload.size());
  return file.commit();
}

Status PageFolder::read(const CacheFileHead& head, std::byte* to) const {
  const std::string path = path_of(head);
  const Descriptor file(path);
  const CacheFileHead stored = HADAL_TRY(read_head(file, path, identity_, layout_, vocab_size_));
  if (stored.key != head.key || stored.ids != head.ids || stored.start != head.start ||
      stored.has_state != head.has_state || stored.payload_bytes != head.payload_bytes)
    return fail(ErrorCode::kBadInput, "{} is not the file it was", path);
  // Piece by piece, so that the checksum finds the bytes still in the cache.
  XXH3_state_t sum;
  XXH3_128bits_reset(&sum);
  for (std::int64_t done = 0; done < stored.payload_bytes;) {
    const std::int64_t piece = std::min(kReadPiece, stored.payload_bytes - done);
    if (file.read_at(to + done, piece, stored.payload_offset + done) != piece)
      return fail(ErrorCode::kBadInput, "{} cannot be read to its end", path);
    XXH3_128bits_update(&sum, to + done, static_cast<std::size_t>(piece));
    done += piece;
  }
  if (canonical(XXH3_128bits_digest(&sum)) != stored.payload_sum)
    return fail(ErrorCode::kBadInput, "{}: the checksum of its rows does not match; it is damaged", path);
  return {};
}

void PageFolder::expect(const CacheFileHead& head) const {
  const Descriptor file(path_of(head));
  if (file.ok()) ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_WILLNEED);
}

void PageFolder::remove(const CacheFileHead& head) const { ::unlink(path_of(head).c_str()); }

void PageFolder::touch(const CacheFileHead& head) const { ::utimensat(AT_FDCWD, path_of(head).c_str(), nullptr, 0); }

}  // namespace hadal
