#include "sessions/record_reader.h"

#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace hadal {
namespace {

// Little-endian, no padding between fields. The content follows, zeros to a multiple of 8, then the XXH3-64 of it all.
struct Prefix {
  char magic[8];
  std::uint32_t version;
  std::uint32_t bytes;  // of content
};
static_assert(sizeof(Prefix) == 16);

constexpr std::int64_t kLeastRecord = kRecordHead + kRecordSum;

// Reads that follow each other fetch this much at once.
constexpr std::int64_t kWindow = 256 << 10;

std::size_t padded(std::uint32_t bytes) { return static_cast<std::size_t>(round_up(bytes, 4)); }

// Head with a possible type and length.
bool plausible(const RecordHead& head, std::int64_t room) {
  return head.type >= 1 && head.type <= kMostRecordTypes && head.zero == 0 && head.bytes <= kMostRecordPayload &&
         kLeastRecord + static_cast<std::int64_t>(padded(head.bytes)) <= room;
}

}  // namespace

std::vector<std::byte> encode_header(const RecordFileKind& kind, Bytes content, std::uint64_t& chain) {
  Prefix prefix{};
  std::memcpy(prefix.magic, kind.magic.data(), sizeof prefix.magic);
  prefix.version = kind.version;
  prefix.bytes = static_cast<std::uint32_t>(content.size());
  const std::size_t summed =
      static_cast<std::size_t>(round_up(static_cast<std::int64_t>(sizeof prefix + content.size()), 8));
  std::vector<std::byte> head(summed + 8);
  std::memcpy(head.data(), &prefix, sizeof prefix);
  if (!content.empty()) std::memcpy(head.data() + sizeof prefix, content.data(), content.size());
  chain = XXH3_64bits(head.data(), summed);
  std::memcpy(head.data() + summed, &chain, 8);
  return head;
}

Result<Bytes> RecordReader::window(std::int64_t offset, std::size_t bytes) {
  const std::size_t wanted = std::min(bytes, static_cast<std::size_t>(size_ - offset));
  const std::int64_t held_to = buffer_offset_ + static_cast<std::int64_t>(buffer_.size());
  if (offset < buffer_offset_ || offset + static_cast<std::int64_t>(wanted) > held_to) {
    const std::int64_t read = std::min(size_ - offset, std::max(static_cast<std::int64_t>(wanted), kWindow));
    buffer_.resize(static_cast<std::size_t>(read));
    buffer_offset_ = offset;
    std::size_t done = 0;
    while (done < buffer_.size()) {
      const ssize_t n =
          ::pread(fd_, buffer_.data() + done, buffer_.size() - done, offset + static_cast<std::int64_t>(done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail(ErrorCode::kIo, "{}: cannot read: {}", path_, std::strerror(errno));
      if (n == 0) return fail(ErrorCode::kIo, "{}: became shorter while it was read", path_);
      done += static_cast<std::size_t>(n);
    }
  }
  return Bytes(buffer_).subspan(static_cast<std::size_t>(offset - buffer_offset_), wanted);
}

Status RecordReader::start(const RecordFileKind& kind, const std::function<Status(Bytes)>& on_header) {
  struct stat info = {};
  if (::fstat(fd_, &info) != 0) return fail(ErrorCode::kIo, "{}: {}", path_, std::strerror(errno));
  size_ = info.st_size;
  Bytes head = HADAL_TRY(window(0, sizeof(Prefix)));
  Prefix prefix;
  if (head.size() < sizeof prefix || std::memcmp(head.data(), kind.magic.data(), sizeof prefix.magic) != 0)
    return fail(ErrorCode::kBadInput, "{}: is not a {} of hadal", path_, name_);
  std::memcpy(&prefix, head.data(), sizeof prefix);
  if (prefix.version != kind.version)
    return fail(ErrorCode::kUnsupported, "{}: is a {} of format version {}, this hadal reads version {}", path_, name_,
                prefix.version, kind.version);
  if (prefix.bytes > kMostHeaderContent)
    return fail(ErrorCode::kBadInput, "{}: its header is damaged: it claims {} bytes", path_, prefix.bytes);
  const std::size_t summed =
      static_cast<std::size_t>(round_up(static_cast<std::int64_t>(sizeof prefix) + prefix.bytes, 8));
  head = HADAL_TRY(window(0, summed + 8));
  if (head.size() < summed + 8) return fail(ErrorCode::kBadInput, "{}: is cut off in its header", path_);
  std::memcpy(&chain_, head.data() + summed, 8);
  if (chain_ != XXH3_64bits(head.data(), summed))
    return fail(ErrorCode::kBadInput, "{}: its header is damaged: the checksum does not match", path_);
  offset_ = static_cast<std::int64_t>(summed) + 8;
  return on_header(head.subspan(sizeof prefix, prefix.bytes));
}

Status RecordReader::start_at(std::int64_t offset, std::int64_t end) {
  size_ = end;
  offset_ = offset;
  if (offset < static_cast<std::int64_t>(kRecordSum) || offset > end)
    return fail(ErrorCode::kInternal, "{}: no record begins at byte {} of {}", path_, offset, end);
  const Bytes before = HADAL_TRY(window(offset - kRecordSum, kRecordSum));
  std::memcpy(&chain_, before.data(), kRecordSum);
  return {};
}

Result<const Record*> RecordReader::next() {
  RecordHead head{};
  Bytes bytes = HADAL_TRY(window(offset_, kRecordHead));
  if (bytes.size() < kRecordHead) return nullptr;
  std::memcpy(&head, bytes.data(), sizeof head);
  if (!plausible(head, size_ - offset_)) return nullptr;
  const std::size_t summed = kRecordHead + padded(head.bytes);
  bytes = HADAL_TRY(window(offset_, summed + kRecordSum));
  std::uint64_t stored = 0;
  std::memcpy(&stored, bytes.data() + summed, kRecordSum);
  if (stored != XXH3_64bits_withSeed(bytes.data(), summed, chain_)) return nullptr;
  record_ = {head.type, bytes.subspan(kRecordHead, head.bytes), offset_};
  chain_ = stored;
  offset_ += static_cast<std::int64_t>(summed + kRecordSum);
  return &record_;
}

Result<bool> RecordReader::record_at(std::int64_t offset, std::uint64_t seed, std::int64_t& hashed) {
  RecordHead head{};
  Bytes bytes = HADAL_TRY(window(offset, kRecordHead));
  std::memcpy(&head, bytes.data(), sizeof head);
  if (!plausible(head, size_ - offset)) return false;
  const std::size_t summed = kRecordHead + padded(head.bytes);
  bytes = HADAL_TRY(window(offset, summed + kRecordSum));
  std::uint64_t stored = 0;
  std::memcpy(&stored, bytes.data() + summed, kRecordSum);
  hashed += static_cast<std::int64_t>(summed);
  return stored == XXH3_64bits_withSeed(bytes.data(), summed, seed);
}

Status RecordReader::check_tail() {
  const auto damaged = [this] {
    return fail(ErrorCode::kBadInput,
                "{}: is damaged at byte {} of {}, with intact records after it; bring back a copy of this {}", path_,
                offset_, size_, name_);
  };
  // A file made to be slow to judge is judged damaged.
  constexpr std::int64_t kMostHashed = std::int64_t{256} << 20;
  std::int64_t hashed = 0;
  // If only its checksum is wrong, the record after it continues from what the checksum should be.
  RecordHead head{};
  Bytes bytes = HADAL_TRY(window(offset_, kRecordHead));
  if (bytes.size() < kRecordHead) return {};
  std::memcpy(&head, bytes.data(), sizeof head);
  if (plausible(head, size_ - offset_)) {
    const std::size_t summed = kRecordHead + padded(head.bytes);
    bytes = HADAL_TRY(window(offset_, summed));
    const std::uint64_t right = XXH3_64bits_withSeed(bytes.data(), summed, chain_);
    const std::int64_t after = offset_ + static_cast<std::int64_t>(summed + kRecordSum);
    if (after + kLeastRecord <= size_ && HADAL_TRY(record_at(after, right, hashed))) return damaged();
  }
  // Any other intact record carries its seed in the 8 bytes before it.
  for (std::int64_t at = offset_ + kLeastRecord; at + kLeastRecord <= size_; at += 4) {
    bytes = HADAL_TRY(window(at - static_cast<std::int64_t>(kRecordSum), kRecordSum + kRecordHead));
    std::memcpy(&head, bytes.data() + kRecordSum, sizeof head);
    if (!plausible(head, size_ - at)) continue;
    std::uint64_t seed = 0;
    std::memcpy(&seed, bytes.data(), sizeof seed);
    if (HADAL_TRY(record_at(at, seed, hashed)) || hashed > kMostHashed) return damaged();
  }
  return {};
}

}  // namespace hadal
