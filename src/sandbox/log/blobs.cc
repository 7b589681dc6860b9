#include "sandbox/log/blobs.h"

#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "files/atomic_file.h"
#include "sandbox/digest.h"

namespace hadal::sandbox {

Result<Blobs> Blobs::open(std::string folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(ErrorCode::kIo, "{}: {}", folder, error.message());
  return Blobs(std::move(folder));
}

// A folder per first byte: a folder of a million files is slow to list.
std::string Blobs::path(std::string_view digest) const {
  return fmt::format("{}/{}/{}.zst", folder_, digest.substr(0, 2), digest);
}

Result<std::string> Blobs::put(std::string_view bytes) const {
  if (bytes.size() > kMostBlob) return fail(ErrorCode::kUsage, "a result of {} bytes is too big to keep", bytes.size());
  const std::string digest = sha256_hex(bytes), to = path(digest);
  std::error_code error;
  if (std::filesystem::exists(to, error)) return digest;
  std::filesystem::create_directories(std::filesystem::path(to).parent_path(), error);
  if (error) return fail(ErrorCode::kIo, "{}: {}", to, error.message());
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  // Level 1: output is written once and seldom read again.
  const std::size_t size = ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), 1);
  if (ZSTD_isError(size) != 0) return fail(ErrorCode::kInternal, "zstd: {}", ZSTD_getErrorName(size));
  AtomicFile file = HADAL_TRY(AtomicFile::create(to, 0600));
  file.write(packed.data(), size);
  HADAL_CHECK_OK(file.commit());
  return digest;
}

Result<std::string> Blobs::get(std::string_view digest) const {
  if (digest.size() != 64 || digest.find_first_not_of("0123456789abcdef") != std::string_view::npos)
    return fail(ErrorCode::kNotFound, "{:.80} is not the digest of a blob", digest);
  const std::string from = path(digest);
  std::error_code error;
  const auto size = std::filesystem::file_size(from, error);
  if (error) return fail(ErrorCode::kNotFound, "{}: {}", from, error.message());
  if (size > kMostBlob) return fail(ErrorCode::kBadInput, "{}: {} bytes are no blob of ours", from, size);
  std::ostringstream text;
  text << std::ifstream(from, std::ios::binary).rdbuf();
  const std::string packed = text.str();
  const unsigned long long whole = ZSTD_getFrameContentSize(packed.data(), packed.size());
  if (whole == ZSTD_CONTENTSIZE_UNKNOWN || whole == ZSTD_CONTENTSIZE_ERROR || whole > kMostBlob)
    return fail(ErrorCode::kBadInput, "{} is damaged", from);
  std::string bytes(static_cast<std::size_t>(whole), '\0');
  const std::size_t got = ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size());
  if (ZSTD_isError(got) != 0 || got != bytes.size() || sha256_hex(bytes) != digest)
    return fail(ErrorCode::kBadInput, "{} is damaged", from);
  return bytes;
}

}  // namespace hadal::sandbox
