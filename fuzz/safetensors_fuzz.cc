// Any bytes as a safetensors file: refused in one sentence, or every tensor lies inside the file and none overlap.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "files/safetensors.h"

namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

void check(hadal::Bytes file, std::uint64_t size, bool data_present) {
  const auto header = hadal::parse_safetensors_header(file, size, "input");
  if (!header) {
    require(!header.error().what.empty() && header.error().what.find('\n') == std::string::npos);
    return;
  }
  std::vector<const hadal::TensorInfo*> tensors;
  for (const auto& t : header->tensors) {
    std::uint64_t bytes = static_cast<std::uint64_t>(hadal::dtype_bytes(t.dtype));
    for (std::int64_t n : t.shape) bytes *= static_cast<std::uint64_t>(n);
    require(t.begin <= t.end && t.end <= size && bytes == t.bytes() && t.end <= header->data_end);
    require(header->find(t.name) == &t);
    if (data_present) require(t.end <= file.size());
    if (t.bytes() > 0) tensors.push_back(&t);
  }
  std::sort(tensors.begin(), tensors.end(), [](auto* a, auto* b) { return a->begin < b->begin; });
  for (std::size_t i = 1; i < tensors.size(); ++i) require(tensors[i - 1]->end <= tensors[i]->begin);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const hadal::Bytes bytes = std::as_bytes(std::span(data, size));
  check(bytes, size, true);
  check(bytes, INT64_MAX, false);  // as for a file that holds its header only
  // The same bytes as the JSON alone, so that mutations need not keep the length field in step.
  std::vector<std::uint8_t> framed(8 + size);
  for (std::size_t i = 0; i < 8; ++i)
    framed[i] = static_cast<std::uint8_t>(static_cast<std::uint64_t>(size) >> (8 * i));
  std::copy(data, data + size, framed.begin() + 8);
  check(std::as_bytes(std::span(framed)), INT64_MAX, false);
  return 0;
}
