// A checked blob from an unknown source: refused with a sentence, or mapped within the file's bounds.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "files/checked_blob.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal;
  static const std::string path = "/tmp/hadal_blob_fuzz_" + std::to_string(::getpid());
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return 0;
  std::fwrite(data, 1, size, file);
  std::fclose(file);
  // The key and size the file itself claims, so that more than the first comparison is reached.
  BlobKey key{{'p', 'a', 'c', 'k', 'e', 'd', 'w', 't'}, 0, 0};
  std::int64_t bytes = 1;
  if (size >= 48) {
    std::memcpy(key.kind.data(), data + 16, 8);
    std::memcpy(&key.made_from, data + 24, 8);
    std::memcpy(&key.arrangement, data + 32, 8);
    std::memcpy(&bytes, data + 40, 8);
  }
  auto blob = CheckedBlob::open(path, key, bytes);
  if (!blob) {
    if (blob.error().what.empty()) std::abort();
  } else {
    for (std::int64_t c = 0; c < blob->chunks(); ++c) (void)blob->chunk_holds(c);
  }
  ::unlink(path.c_str());
  return 0;
}
