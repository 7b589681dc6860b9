// Big outputs of the trajectory log: files named by the SHA-256 of what they hold, compressed.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::sandbox {

constexpr std::size_t kMostBlob = 512 << 20;  // two streams of 64 MiB as JSON escapes, and room

class Blobs {
 public:
  // Makes `folder` if it is not there. kIo.
  static Result<Blobs> open(std::string folder);
  // Durable when it returns; the digest in hexadecimal. kIo, kUsage above kMostBlob.
  Result<std::string> put(std::string_view bytes) const;
  // kNotFound; kBadInput when what is there does not have the digest; kIo.
  Result<std::string> get(std::string_view digest) const;

 private:
  explicit Blobs(std::string folder) : folder_(std::move(folder)) {}
  std::string path(std::string_view digest) const;
  std::string folder_;
};

}  // namespace hadal::sandbox
