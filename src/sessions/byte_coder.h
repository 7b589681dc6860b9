// Fields of a record, little-endian and without padding: written into a buffer, read back with every bound checked.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/span.h"

namespace hadal {

static_assert(std::endian::native == std::endian::little, "records are little-endian, as every supported machine is");

class ByteWriter {
 public:
  template <class T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    const auto* p = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), p, p + sizeof value);
  }
  void put_text(std::string_view text) {  // u32 length, then the bytes
    put(static_cast<std::uint32_t>(text.size()));
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), p, p + text.size());
  }
  template <class T>
  void put_list(const std::vector<T>& list) {  // u32 count, then the elements
    put(static_cast<std::uint32_t>(list.size()));
    for (const T& v : list) put(v);
  }
  Bytes bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Once something did not fit, every later field is zero or empty and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : bytes_(bytes) {}

  template <class T>
  T get() {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    T value{};
    if (!take(sizeof value)) return value;
    std::memcpy(&value, bytes_.data() + at_ - sizeof value, sizeof value);
    return value;
  }
  std::string get_text() {
    const auto size = get<std::uint32_t>();
    if (!take(size)) return {};
    return std::string(reinterpret_cast<const char*>(bytes_.data()) + at_ - size, size);
  }
  template <class T>
  std::vector<T> get_list() {
    const auto count = get<std::uint32_t>();
    std::vector<T> list;
    if (!ok_ || count > left() / sizeof(T)) {
      ok_ = false;
      return list;
    }
    list.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) list.push_back(get<T>());
    return list;
  }
  bool ok() const { return ok_; }
  bool complete() const { return ok_ && at_ == bytes_.size(); }  // everything was read
  std::size_t left() const { return bytes_.size() - at_; }

 private:
  bool take(std::size_t n) {
    if (!ok_ || n > left()) return ok_ = false;
    at_ += n;
    return true;
  }
  Bytes bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace hadal
