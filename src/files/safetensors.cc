#include "files/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "files/display_name.h"

namespace hadal {
namespace {

namespace od = simdjson::ondemand;

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::int64_t bytes;
};

// Names as the safetensors format spells them. Sub-byte types of later revisions are not here: DeepSeek-V4 stores FP4
// as I8.
constexpr std::array<DTypeRow, 16> kDTypes = {{
    {DType::kBool, "BOOL", 1},
    {DType::kU8, "U8", 1},
    {DType::kI8, "I8", 1},
    {DType::kE4M3, "F8_E4M3", 1},
    {DType::kE5M2, "F8_E5M2", 1},
    {DType::kE8M0, "F8_E8M0", 1},
    {DType::kI16, "I16", 2},
    {DType::kU16, "U16", 2},
    {DType::kF16, "F16", 2},
    {DType::kBF16, "BF16", 2},
    {DType::kI32, "I32", 4},
    {DType::kU32, "U32", 4},
    {DType::kF32, "F32", 4},
    {DType::kI64, "I64", 8},
    {DType::kU64, "U64", 8},
    {DType::kF64, "F64", 8},
}};

constexpr std::size_t kMaxDimensions = 8;      // the release uses two
constexpr std::size_t kMaxNameBytes = 1024;    // longest release name is under 60
constexpr std::size_t kMaxTensors = 1u << 22;  // thirty times V4-Pro

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const auto& row : kDTypes)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

std::string quoted_name(std::string_view name) { return fmt::format("'{}'", display_name(name)); }

std::unexpected<Error> bad(const std::string& where, std::string_view what) {
  return fail(ErrorCode::kBadInput, "{}: {}; the file is damaged or not safetensors, fetch it again", where, what);
}

// Bytes of a tensor, nothing when the product overflows.
std::optional<std::uint64_t> tensor_bytes(DType dtype, const std::vector<std::int64_t>& shape) {
  auto bytes = static_cast<std::uint64_t>(dtype_bytes(dtype));
  for (std::int64_t n : shape)
    if (n < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(n), &bytes)) return std::nullopt;
  return bytes;
}

// One header entry; offsets are still relative to the data section.
simdjson::error_code read_entry(od::object entry, TensorInfo& tensor, std::string& problem) {
  bool dtype_seen = false, shape_seen = false, offsets_seen = false;
  for (auto item : entry) {
    od::field field;
    if (auto e = std::move(item).get(field)) return e;
    std::string_view key;
    if (auto e = field.unescaped_key().get(key)) return e;
    if (key == "dtype") {
      std::string_view name;
      if (auto e = field.value().get_string().get(name)) return e;
      auto dtype = dtype_from_name(name);
      if (!dtype || dtype_seen) {
        problem = dtype ? "has two dtypes" : "has unknown dtype " + quoted_name(name);
        return simdjson::SUCCESS;
      }
      tensor.dtype = *dtype;
      dtype_seen = true;
    } else if (key == "shape") {
      od::array shape;
      if (auto e = field.value().get_array().get(shape)) return e;
      if (shape_seen) {
        problem = "has two shapes";
        return simdjson::SUCCESS;
      }
      for (auto value : shape) {
        std::int64_t n = 0;
        if (auto e = value.get_int64().get(n)) return e;
        if (n < 0 || tensor.shape.size() == kMaxDimensions) {
          problem = n < 0 ? "has a negative dimension" : fmt::format("has more than {} dimensions", kMaxDimensions);
          return simdjson::SUCCESS;
        }
        tensor.shape.push_back(n);
      }
      shape_seen = true;
    } else if (key == "data_offsets") {
      od::array offsets;
      if (auto e = field.value().get_array().get(offsets)) return e;
      std::uint64_t range[2] = {0, 0};
      std::size_t count = 0;
      for (auto value : offsets) {
        std::uint64_t n = 0;
        if (auto e = value.get_uint64().get(n)) return e;
        if (count < 2) range[count] = n;
        ++count;
      }
      if (count != 2 || offsets_seen) {
        problem = "needs exactly two data_offsets";
        return simdjson::SUCCESS;
      }
      tensor.begin = range[0];
      tensor.end = range[1];
      offsets_seen = true;
    } else {
      problem = "has unknown field " + quoted_name(key);
      return simdjson::SUCCESS;
    }
  }
  if (!dtype_seen || !shape_seen || !offsets_seen) problem = "lacks dtype, shape or data_offsets";
  return simdjson::SUCCESS;
}

// Walks the header. A parse error is returned, a semantic one is put into `problem`.
simdjson::error_code read_header(od::document& document, SafetensorsHeader& header, std::string& problem) {
  od::object root;
  if (auto e = document.get_object().get(root)) return e;
  for (auto item : root) {
    od::field field;
    if (auto e = std::move(item).get(field)) return e;
    std::string_view key;
    if (auto e = field.unescaped_key().get(key)) return e;
    od::object entry;
    if (key == "__metadata__") {
      if (auto e = field.value().get_object().get(entry)) return e;
      for (auto pair_item : entry) {
        od::field pair;
        if (auto e = std::move(pair_item).get(pair)) return e;
        std::string_view name, value;
        if (auto e = pair.unescaped_key().get(name)) return e;
        std::string owned(name);  // the next string may reuse the buffer
        if (auto e = pair.value().get_string().get(value)) return e;
        header.metadata[owned] = std::string(value);
      }
      continue;
    }
    if (key.size() > kMaxNameBytes || header.tensors.size() == kMaxTensors) {
      problem = key.size() > kMaxNameBytes ? "a tensor name is longer than 1024 bytes" : "more than 4 million tensors";
      return simdjson::SUCCESS;
    }
    TensorInfo tensor;
    tensor.name = std::string(key);
    if (auto e = field.value().get_object().get(entry)) return e;
    std::string wrong;
    if (auto e = read_entry(entry, tensor, wrong)) return e;
    if (!wrong.empty()) {
      problem = fmt::format("tensor {} {}", quoted_name(tensor.name), wrong);
      return simdjson::SUCCESS;
    }
    header.tensors.push_back(std::move(tensor));
  }
  // Asking for the place in the text fails exactly when all of it was read.
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) return simdjson::TRAILING_CONTENT;
  return simdjson::SUCCESS;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + '"';
}

}  // namespace

std::int64_t dtype_bytes(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].bytes; }
std::string_view dtype_name(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].name; }

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) out += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return out + "]";
}

const TensorInfo* SafetensorsHeader::find(std::string_view name) const {
  auto it = std::lower_bound(tensors.begin(), tensors.end(), name,
                             [](const TensorInfo& t, std::string_view n) { return t.name < n; });
  return it != tensors.end() && it->name == name ? &*it : nullptr;
}

Result<SafetensorsHeader> parse_safetensors_header(Bytes file, std::uint64_t file_size, const std::string& where) {
  if (file.size() < 8) return bad(where, fmt::format("{} bytes are too few for a safetensors header", file.size()));
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<std::uint64_t>(file[static_cast<std::size_t>(i)]);
  if (length > kMaxHeaderBytes)
    return bad(where, fmt::format("header of {} bytes is above the limit of {}", length, kMaxHeaderBytes));
  if (length > file.size() - 8)
    return bad(where, fmt::format("header of {} bytes does not fit in a file of {} bytes", length, file.size()));

  SafetensorsHeader header;
  std::string problem;
  simdjson::padded_string text(reinterpret_cast<const char*>(file.data()) + 8, static_cast<std::size_t>(length));
  od::parser parser(static_cast<std::size_t>(kMaxHeaderBytes));
  od::document document;
  auto error = parser.iterate(text).get(document);
  if (!error) error = read_header(document, header, problem);
  if (error) return bad(where, fmt::format("header is not the expected JSON ({})", simdjson::error_message(error)));
  if (!problem.empty()) return bad(where, problem);

  const std::uint64_t data_begin = 8 + length;
  for (auto& t : header.tensors) {
    const auto bytes = tensor_bytes(t.dtype, t.shape);
    if (!bytes || t.end < t.begin || t.end - t.begin != *bytes)
      return bad(where, fmt::format("tensor {} of {} {} does not fill its data_offsets [{}, {}]", quoted_name(t.name),
                                    dtype_name(t.dtype), shape_text(t.shape), t.begin, t.end));
    if (t.end > file_size || t.end > file_size - data_begin)
      return fail(ErrorCode::kBadInput,
                  "{}: tensor {} ends at byte {} but the file has {}; it is truncated, fetch it again", where,
                  quoted_name(t.name), t.end > UINT64_MAX - data_begin ? t.end : t.end + data_begin, file_size);
    t.begin += data_begin;
    t.end += data_begin;
    header.data_end = std::max(header.data_end, t.end);
  }
  header.data_end = std::max(header.data_end, data_begin);

  std::vector<const TensorInfo*> by_offset;
  for (const auto& t : header.tensors)
    if (t.bytes() != 0) by_offset.push_back(&t);
  std::sort(by_offset.begin(), by_offset.end(), [](auto* a, auto* b) { return a->begin < b->begin; });
  for (std::size_t i = 1; i < by_offset.size(); ++i)
    if (by_offset[i]->begin < by_offset[i - 1]->end)
      return bad(where, fmt::format("tensors {} and {} overlap", quoted_name(by_offset[i - 1]->name),
                                    quoted_name(by_offset[i]->name)));

  std::sort(header.tensors.begin(), header.tensors.end(), [](auto& a, auto& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < header.tensors.size(); ++i)
    if (header.tensors[i].name == header.tensors[i - 1].name)
      return bad(where, fmt::format("tensor {} appears twice", quoted_name(header.tensors[i].name)));
  return header;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path, Data data) {
  return open(HADAL_TRY(MappedFile::open(path)), data);
}

Result<SafetensorsFile> SafetensorsFile::open(MappedFile map, Data data) {
  SafetensorsFile file;
  file.map_ = std::move(map);
  const std::uint64_t limit = data == Data::kRequired ? file.map_.size() : INT64_MAX;
  file.header_ = HADAL_TRY(parse_safetensors_header(file.map_.bytes(), limit, file.map_.path()));
  return file;
}

Bytes SafetensorsFile::data(const TensorInfo& tensor) const {
  if (tensor.end > map_.size()) return {};
  return map_.bytes().subspan(tensor.begin, tensor.bytes());
}

Status SafetensorsWriter::add(std::string name, DType dtype, std::vector<std::int64_t> shape, Bytes data) {
  const auto bytes = tensor_bytes(dtype, shape);
  if (!bytes || *bytes != data.size())
    return fail(ErrorCode::kUsage, "tensor {} of {} {} cannot have {} bytes", quoted_name(name), dtype_name(dtype),
                shape_text(shape), data.size());
  for (const auto& e : entries_)
    if (e.name == name) return fail(ErrorCode::kUsage, "tensor {} was added twice", quoted_name(name));
  entries_.push_back({std::move(name), dtype, std::move(shape), data});
  return {};
}

Status SafetensorsWriter::add_copy(std::string name, DType dtype, std::vector<std::int64_t> shape, Bytes data) {
  auto copy = std::make_unique<std::byte[]>(data.size());
  std::copy(data.begin(), data.end(), copy.get());
  HADAL_CHECK_OK(add(std::move(name), dtype, std::move(shape), Bytes(copy.get(), data.size())));
  copies_.push_back(std::move(copy));
  return {};
}

std::string SafetensorsWriter::header() const {
  std::string json = "{";
  if (!metadata_.empty()) {
    json += "\"__metadata__\":{";
    for (bool first = true; const auto& [key, value] : metadata_) {
      json += (first ? "" : ",") + json_string(key) + ":" + json_string(value);
      first = false;
    }
    json += entries_.empty() ? "}" : "},";
  }
  std::uint64_t offset = 0;
  for (const auto& e : entries_) {
    json += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                        offset == 0 && &e == entries_.data() ? "" : ",", json_string(e.name), dtype_name(e.dtype),
                        shape_text(e.shape), offset, offset + e.data.size());
    offset += e.data.size();
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');  // tensor data stays 8-byte aligned
  std::string out(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(json.size() >> (8 * i));
  return out + json;
}

}  // namespace hadal
