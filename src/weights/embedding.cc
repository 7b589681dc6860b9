#include "weights/embedding.h"

#include <cstring>

namespace hadal {

Status Embedding::gather(std::span<const TokenId> ids, std::uint16_t* out) const {
  const auto bytes = static_cast<std::size_t>(width_) * sizeof(std::uint16_t);
  for (const TokenId id : ids) {
    const auto row = static_cast<std::size_t>(to_int(id));
    if (file_)
      HADAL_CHECK_OK(file_->read(offset_ + row * bytes, {reinterpret_cast<std::byte*>(out), bytes}));
    else
      std::memcpy(out, rows_ + row * static_cast<std::size_t>(width_), bytes);
    out += width_;
  }
  return {};
}

}  // namespace hadal
