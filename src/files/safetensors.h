// The safetensors container: 8 bytes little-endian header length, a JSON header, then tensor data.
// Header: {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, ..., "__metadata__": {string:
// string}}.
//
// Everything is checked before it is used: the header is never larger than the file or kMaxHeaderBytes, shapes do not
// overflow, offsets lie inside the file and agree with shape and dtype, no two tensors overlap, no name appears twice.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "files/mapped_file.h"

namespace hadal {

enum class DType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kE4M3,
  kE5M2,
  kE8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64
};

std::int64_t dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);  // as spelled in files: "F8_E4M3"

std::string shape_text(const std::vector<std::int64_t>& shape);  // "[2, 3]"

struct TensorInfo {
  std::string name;
  DType dtype = DType::kU8;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // offsets in the file

  std::uint64_t bytes() const { return end - begin; }
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;              // sorted by name
  std::map<std::string, std::string> metadata;  // __metadata__
  std::uint64_t data_end = 0;                   // the size a complete file has at least

  const TensorInfo* find(std::string_view name) const;
};

// V4-Pro's index of 145,116 tensors is 14 MB in all; one shard's header is a few hundred KB.
inline constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{256} << 20;

// `file` holds at least the header; `file_size` is the size the data must fit in. `where` names the file in errors.
Result<SafetensorsHeader> parse_safetensors_header(Bytes file, std::uint64_t file_size, const std::string& where);

class SafetensorsFile {
 public:
  // kHeaderOnly accepts a file whose data is cut off (a downloaded header, a plan); tensors outside it have no data.
  enum class Data { kRequired, kHeaderOnly };
  static Result<SafetensorsFile> open(const std::string& path, Data data = Data::kRequired);
  static Result<SafetensorsFile> open(MappedFile map, Data data = Data::kRequired);

  const std::string& path() const { return map_.path(); }
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const TensorInfo* find(std::string_view name) const { return header_.find(name); }
  bool complete() const { return header_.data_end <= map_.size(); }

  // Bytes of a tensor of this file; empty when a header-only file does not hold them.
  Bytes data(const TensorInfo& tensor) const;
  const MappedFile& map() const { return map_; }

 private:
  MappedFile map_;
  SafetensorsHeader header_;
};

// Collects tensors and writes them in the order added. Data is a view unless added with add_copy; it must live until
// write().
class SafetensorsWriter {
 public:
  // kUsage when data does not match dtype and shape, or the name is taken.
  Status add(std::string name, DType dtype, std::vector<std::int64_t> shape, Bytes data);
  Status add_copy(std::string name, DType dtype, std::vector<std::int64_t> shape, Bytes data);
  void set_metadata(std::string key, std::string value) { metadata_[std::move(key)] = std::move(value); }

  // Writes beside the target and renames, so readers see the old file or the whole new one.
  Status write(const std::string& path) const;
  // The header alone, padded to 8 bytes, with its length in front.
  std::string header() const;

 private:
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<std::int64_t> shape;
    Bytes data;
  };
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::unique_ptr<std::byte[]>> copies_;
};

}  // namespace hadal
