#include "files/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace hadal {
namespace {

using testing::HasSubstr;

// A header with its length in front and `data` zero bytes behind.
std::string container(const std::string& json, std::size_t data) {
  std::string out(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(json.size() >> (8 * i));
  return out + json + std::string(data, '\0');
}

Result<SafetensorsHeader> parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file.data(), file.size())), file.size(), "x.safetensors");
}

struct TemporaryFolder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / fmt::format("hadal_files_test_{}", ::getpid());
  TemporaryFolder() { std::filesystem::create_directories(path); }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
};

TEST(Safetensors, ReadsAHeader) {
  auto header = parse(container(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F8_E8M0","shape":[2,3],"data_offsets":[0,6]},)"
      R"("a":{"data_offsets":[8,16],"shape":[],"dtype":"I64"},"none":{"dtype":"F32","shape":[0,7],"data_offsets":[6,6]}}   )",
      16));
  ASSERT_TRUE(header) << header.error().what;
  EXPECT_EQ(header->metadata.at("format"), "pt");
  ASSERT_EQ(header->tensors.size(), 3u);
  EXPECT_EQ(header->tensors[0].name, "a");
  const TensorInfo* b = header->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, DType::kE8M0);
  EXPECT_EQ(b->shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(b->bytes(), 6u);
  EXPECT_EQ(header->find("bb"), nullptr);
}

struct BadCase {
  const char* name;
  std::string file;
  const char* says;
};

class SafetensorsBad : public testing::TestWithParam<BadCase> {};

TEST_P(SafetensorsBad, RefusedInOneSentence) {
  auto header = parse(GetParam().file);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().code, ErrorCode::kBadInput);
  EXPECT_THAT(header.error().what, HasSubstr("x.safetensors"));
  EXPECT_THAT(header.error().what, HasSubstr(GetParam().says));
  EXPECT_EQ(header.error().what.find('\n'), std::string::npos);
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

INSTANTIATE_TEST_SUITE_P(
    Cases, SafetensorsBad,
    testing::Values(
        BadCase{"empty", "", "too few"}, BadCase{"seven", std::string(7, ' '), "too few"},
        BadCase{"bomb", std::string(8, '\xff') + "{}", "above the limit"},
        BadCase{"longer", std::string("\x40\0\0\0\0\0\0\0{}", 10), "does not fit"},
        BadCase{"noheader", container("", 0), "not the expected JSON"},
        BadCase{"list", container("[]", 0), "not the expected JSON"},
        BadCase{"open", container("{\"a\":", 0), "not the expected JSON"},
        BadCase{"trailing", container("{} {}", 0), "not the expected JSON"},
        BadCase{"number", container(R"({"a":3})", 0), "not the expected JSON"},
        BadCase{"deep", container("{\"a\":" + nested(100000) + "}", 0), "not the expected JSON"},
        BadCase{"deepshape",
                container(R"({"a":{"dtype":"U8","shape":)" + nested(5000) + R"(,"data_offsets":[0,1]}})", 1), "JSON"},
        BadCase{"utf8", container("{\"a\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
                "not the expected JSON"},
        BadCase{"longname",
                container("{\"" + std::string(2000, 'n') + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
                "1024"},
        BadCase{"dtype", container(R"({"a":{"dtype":"F3","shape":[1],"data_offsets":[0,1]}})", 1),
                "unknown dtype 'F3'"},
        BadCase{"field", container(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1),
                "unknown field 'x'"},
        BadCase{"noshape", container(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1), "lacks"},
        BadCase{"negative", container(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1), "negative"},
        BadCase{"fraction", container(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 1), "JSON"},
        BadCase{"ninedims", container(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1),
                "dimensions"},
        BadCase{"overflow",
                container(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0),
                "does not fill"},
        BadCase{"oneoffset", container(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1), "exactly two"},
        BadCase{"backwards", container(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}})", 2), "does not fill"},
        BadCase{"size", container(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}})", 2), "does not fill"},
        BadCase{"outside", container(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 3), "truncated"},
        BadCase{
            "far",
            container(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551614,18446744073709551615]}})",
                      1),
            "truncated"},
        BadCase{
            "overlap",
            container(
                R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                3),
            "overlap"},
        BadCase{
            "twice",
            container(
                R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                2),
            "appears twice"}),
    [](const auto& test) { return std::string(test.param.name); });

// Every prefix of a valid file is refused or, once complete, read; none crashes.
TEST(Safetensors, EveryTruncation) {
  const std::string file = container(
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b\u00e9":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
      4);
  for (std::size_t n = 0; n < file.size(); ++n) EXPECT_FALSE(parse(file.substr(0, n))) << n;
  EXPECT_TRUE(parse(file));
}

TEST(Safetensors, WritesWhatItReads) {
  TemporaryFolder folder;
  const std::string path = folder.file("out.safetensors");
  const float values[] = {1, 2, 3, 4, 5, 6};
  SafetensorsWriter writer;
  writer.set_metadata("format", "a \"quoted\" \\ value\n");
  ASSERT_TRUE(writer.add_copy("first \"name\"", DType::kU8, {3}, std::as_bytes(std::span("abc", 3))));
  ASSERT_TRUE(writer.add("second", DType::kF32, {2, 3}, std::as_bytes(std::span(values))));
  EXPECT_FALSE(writer.add("second", DType::kF32, {2, 3}, std::as_bytes(std::span(values)))) << "name taken";
  EXPECT_FALSE(writer.add("third", DType::kF32, {2, 4}, std::as_bytes(std::span(values)))) << "shape does not fit";
  ASSERT_TRUE(writer.write(path));

  auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << file.error().what;
  EXPECT_EQ(file->metadata().at("format"), "a \"quoted\" \\ value\n");
  ASSERT_NE(file->find("second"), nullptr);
  const Bytes data = file->data(*file->find("second"));
  ASSERT_EQ(data.size(), sizeof(values));
  EXPECT_EQ(std::memcmp(data.data(), values, sizeof(values)), 0);
  EXPECT_EQ(static_cast<char>(file->data(*file->find("first \"name\""))[1]), 'b');

  // The map survives the file's removal.
  std::filesystem::remove(path);
  EXPECT_EQ(std::memcmp(file->data(*file->find("second")).data(), values, sizeof(values)), 0);
}

TEST(Safetensors, WritesOverFilesOnlyAndThroughLinks) {
  TemporaryFolder folder;
  SafetensorsWriter writer;
  ASSERT_TRUE(writer.add_copy("a", DType::kU8, {3}, std::as_bytes(std::span("abc", 3))));
  const std::string pipe = folder.file("pipe"), link = folder.file("link"), real = folder.file("real");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const Status refused = writer.write(pipe);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().what.find("is not a regular file"), std::string::npos) << refused.error().what;
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  std::ofstream(real) << "old";
  std::filesystem::create_symlink(real, link);
  ASSERT_TRUE(writer.write(link));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_TRUE(SafetensorsFile::open(real));
}

TEST(Safetensors, HeaderOnly) {
  TemporaryFolder folder;
  const std::string path = folder.file("cut.safetensors");
  const std::string whole = container(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  std::ofstream(path, std::ios::binary) << whole.substr(0, whole.size() - 4);
  EXPECT_FALSE(SafetensorsFile::open(path));
  auto file = SafetensorsFile::open(path, SafetensorsFile::Data::kHeaderOnly);
  ASSERT_TRUE(file) << file.error().what;
  EXPECT_FALSE(file->complete());
  EXPECT_TRUE(file->data(*file->find("a")).empty());
}

TEST(MappedFile, RefusesWhatIsNotAFile) {
  TemporaryFolder folder;
  auto directory = MappedFile::open(folder.path.string());
  ASSERT_FALSE(directory);
  EXPECT_THAT(directory.error().what, HasSubstr("is a directory"));
  auto missing = MappedFile::open(folder.file("none"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  std::ofstream(folder.file("empty"));
  auto empty = MappedFile::open(folder.file("empty"));
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->size(), 0u);
  empty->advise(AccessHint::kWillNeed);
}

}  // namespace
}  // namespace hadal
