// Saving a sequence as one file and bringing it back. Layout, field by field: docs/formats/sequence.md.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstring>

#include "cache/cache_identity.h"
#include "cache/sequence.h"
#include "files/atomic_file.h"

namespace hadal {
namespace {

constexpr char kMagic[8] = {'H', 'A', 'D', 'A', 'L', 'S', 'E', 'Q'};
constexpr std::uint32_t kVersion = 1;

// Little-endian, no padding between fields. A section is its bytes followed by their XXH3-128.
struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t flags;     // bit 0: MTP window kept
  std::uint64_t weights;   // ModelWeights::fingerprint
  std::uint64_t numerics;  // XXH3-64 of arithmetic choices and frequency tables
  std::uint64_t page_tokens, page_bytes, state_bytes;
  std::uint64_t length;    // tokens
  std::uint64_t checksum;  // XXH3-64 of the bytes before
};
static_assert(sizeof(Header) == 72);
constexpr std::uint32_t kWithMtp = 1;

class File {
 public:
  explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool ok() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  bool read_all(void* data, std::size_t bytes) {
    auto* p = static_cast<char*>(data);
    while (bytes) {
      ssize_t n = ::read(fd_, p, bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      p += n;
      bytes -= static_cast<std::size_t>(n);
    }
    return true;
  }
  // False on a short read or a wrong checksum.
  bool read_section(void* data, std::size_t bytes) {
    XXH128_canonical_t stored, sum;
    if (!read_all(data, bytes) || !read_all(&stored, sizeof stored)) return false;
    XXH128_canonicalFromHash(&sum, XXH3_128bits(data, bytes));
    return std::memcmp(&stored, &sum, sizeof sum) == 0;
  }

 private:
  int fd_;
};

std::unexpected<Error> io_error(const std::string& what, const std::string& path) {
  return fail(ErrorCode::kIo, "cannot {} {}: {}", what, path, std::strerror(errno));
}

void write_section(AtomicFile& file, const void* data, std::size_t bytes) {
  XXH128_canonical_t sum;
  XXH128_canonicalFromHash(&sum, XXH3_128bits(data, bytes));
  file.write(data, bytes);
  file.write(&sum, sizeof sum);
}

}  // namespace

Status Sequence::save(const std::string& path) const {
  if (damaged_)
    return fail(ErrorCode::kNoMemory,
                "cannot save: the last step failed or windows are missing; feed or rewind the session first");
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.flags = with_mtp_ ? kWithMtp : 0;
  h.weights = model_->weights().fingerprint;
  h.numerics = numerics_hash(*model_);
  h.page_tokens = static_cast<std::uint64_t>(layout_.page_tokens);
  h.page_bytes = static_cast<std::uint64_t>(layout_.page_bytes);
  h.state_bytes = static_cast<std::uint64_t>(layout_.state_bytes);
  h.length = static_cast<std::uint64_t>(state_.length);
  h.checksum = XXH3_64bits(&h, offsetof(Header, checksum));

  AtomicFile file = HADAL_TRY(AtomicFile::create(path, 0600));
  file.write(&h, sizeof h);
  write_section(file, tokens_.data(), tokens_.size() * sizeof(TokenId));
  write_section(file, block_.get(), h.state_bytes);
  for (const PageRef& page : pages_) write_section(file, page.bytes(), h.page_bytes);
  return file.commit();
}

Result<Sequence> Sequence::restore(std::shared_ptr<Model> model, const std::string& path) {
  File in(path);
  if (!in.ok()) return io_error("open", path);
  struct stat info;
  if (::fstat(in.fd(), &info) != 0) return io_error("read", path);
  Header h;
  if (!in.read_all(&h, sizeof h) || std::memcmp(h.magic, kMagic, sizeof kMagic) != 0)
    return fail(ErrorCode::kBadInput, "{} is not a saved sequence of hadal", path);
  if (h.checksum != XXH3_64bits(&h, offsetof(Header, checksum)))
    return fail(ErrorCode::kBadInput, "{}: the header's checksum does not match; the file is damaged", path);
  if (h.version != kVersion)
    return fail(ErrorCode::kUnsupported, "{} has format version {}, this hadal reads version {}", path, h.version,
                kVersion);
  if (h.weights != model->weights().fingerprint)
    return fail(ErrorCode::kBadInput, "{} was saved with other weights; use the checkpoint it was made with", path);
  if (h.numerics != numerics_hash(*model))
    return fail(ErrorCode::kBadInput, "{} was saved with another --numerics setting; use the same one", path);

  Sequence s = HADAL_TRY(create(std::move(model), h.flags & kWithMtp));
  const CacheLayout& layout = s.layout_;
  if (h.page_tokens != static_cast<std::uint64_t>(layout.page_tokens) ||
      h.page_bytes != static_cast<std::uint64_t>(layout.page_bytes) ||
      h.state_bytes != static_cast<std::uint64_t>(layout.state_bytes) ||
      h.length > static_cast<std::uint64_t>(s.model_->config().max_position_embeddings))
    return fail(ErrorCode::kBadInput, "{}: sizes in the header do not fit this model", path);
  auto pages = static_cast<std::uint64_t>(layout.page_bytes ? layout.pages_for(static_cast<Position>(h.length)) : 0);
  // Everything below is bounded by the model's context; the exact file size is checked before anything is allocated.
  std::uint64_t expected =
      sizeof h + (h.length * sizeof(TokenId) + 16) + (h.state_bytes + 16) + pages * (h.page_bytes + 16);
  if (static_cast<std::uint64_t>(info.st_size) != expected)
    return fail(ErrorCode::kBadInput, "{} has {} bytes, its header promises {}; the file is cut off or damaged", path,
                info.st_size, expected);

  auto damaged = [&](const char* section) {
    return fail(ErrorCode::kBadInput, "{}: the checksum of its {} does not match; the file is damaged", path, section);
  };
  s.tokens_.resize(h.length);
  if (!in.read_section(s.tokens_.data(), h.length * sizeof(TokenId))) return damaged("tokens");
  for (TokenId id : s.tokens_)
    if (to_int(id) < 0 || to_int(id) >= s.model_->config().vocab_size)
      return fail(ErrorCode::kBadInput, "{} holds token id {}, outside the vocabulary", path, to_int(id));
  if (!in.read_section(s.block_.get(), h.state_bytes)) return damaged("windows and tails");
  for (std::uint64_t i = 0; i < pages; ++i) {
    PageRef page = HADAL_TRY(PageRef::allocate(layout.page_bytes));
    if (!in.read_section(page.bytes(), h.page_bytes)) return damaged("pages");
    s.pages_.push_back(std::move(page));
  }
  s.state_.length = static_cast<Position>(h.length);
  s.bind();
  return s;
}

}  // namespace hadal
