#include "sandbox/container/keeper_wire.h"

#include <nmmintrin.h>

#include <bit>
#include <cstring>

namespace hadal::sandbox {
namespace {

static_assert(std::endian::native == std::endian::little);

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T get(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc) {
  crc = ~crc;
  const char* p = bytes.data();
  std::size_t n = bytes.size();
  for (; n >= 8; n -= 8, p += 8) crc = static_cast<std::uint32_t>(_mm_crc32_u64(crc, get<std::uint64_t>(p)));
  for (; n > 0; --n, ++p) crc = _mm_crc32_u8(crc, static_cast<unsigned char>(*p));
  return ~crc;
}

void append_frame(std::string& out, KeeperMessage type, std::uint32_t stream, std::string_view body,
                  std::uint16_t flags) {
  const std::size_t start = out.size();
  put(out, static_cast<std::uint32_t>(body.size()));
  put(out, static_cast<std::uint16_t>(type));
  put(out, flags);
  put(out, stream);
  put(out, crc32c(body, crc32c(std::string_view(out).substr(start, 12))));
  out += body;
}

void KeeperReader::feed(std::string_view bytes) {
  if (taken_ > 0) {
    buffer_.erase(0, taken_);
    taken_ = 0;
  }
  buffer_ += bytes;
}

Result<std::optional<KeeperFrame>> KeeperReader::next() {
  const std::string_view rest = std::string_view(buffer_).substr(taken_);
  if (rest.size() < kHeaderBytes) return std::nullopt;
  const auto length = get<std::uint32_t>(rest.data());
  if (length > kMostBody)
    return fail(ErrorCode::kBadInput, "a frame of {} bytes came over a keeper's socket; {} is the most", length,
                kMostBody);
  if (rest.size() < kHeaderBytes + length) return std::nullopt;
  KeeperFrame frame;
  frame.type = static_cast<KeeperMessage>(get<std::uint16_t>(rest.data() + 4));
  frame.flags = get<std::uint16_t>(rest.data() + 6);
  frame.stream = get<std::uint32_t>(rest.data() + 8);
  frame.body = rest.substr(kHeaderBytes, length);
  if (get<std::uint32_t>(rest.data() + 12) != crc32c(frame.body, crc32c(rest.substr(0, 12))))
    return fail(ErrorCode::kBadInput, "a frame over a keeper's socket has a wrong checksum");
  taken_ += kHeaderBytes + length;
  return frame;
}

}  // namespace hadal::sandbox
