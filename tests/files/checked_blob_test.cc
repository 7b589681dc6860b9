// docs/formats/checked-blob.md: what was written comes back, and nothing else does.
#include "files/checked_blob.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

class CheckedBlobTest : public testing::Test {
 protected:
  std::string read() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  static Bytes view(const std::string& s) { return std::as_bytes(std::span(s)); }

  const test::TemporaryFolder folder_;
  const std::string path_ = folder_.file("blob");
  const BlobKey key_{{'p', 'a', 'c', 'k', 'e', 'd', 'w', 't'}, 0x1122334455667788, 0x99aabbccddeeff00};
};

TEST_F(CheckedBlobTest, ComesBack) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{CheckedBlob::kChunk}, std::size_t{CheckedBlob::kChunk} * 2 + 77}) {
    std::string content(size, '\0');
    std::mt19937 random(5);
    for (char& c : content) c = static_cast<char>(random());
    ASSERT_TRUE(CheckedBlob::write(path_, key_, view(content)));
    auto blob = CheckedBlob::open(path_, key_, static_cast<std::int64_t>(size));
    ASSERT_TRUE(blob) << blob.error().what;
    EXPECT_TRUE(std::ranges::equal(blob->content(), view(content)));
    EXPECT_EQ(blob->chunks(), static_cast<std::int64_t>((size + CheckedBlob::kChunk - 1) / CheckedBlob::kChunk));
    for (std::int64_t c = 0; c < blob->chunks(); ++c) EXPECT_TRUE(blob->chunk_holds(c));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blob->content().data()) % CheckedBlob::kAlign, 0u);
  }
}

// The bytes of version 1; a change of the format is a new version and a new set of bytes.
TEST_F(CheckedBlobTest, WritesTheDocumentedBytes) {
  ASSERT_TRUE(CheckedBlob::write(path_, key_, view("hadal")));
  const std::string bytes = read();
  ASSERT_EQ(bytes.size(), 4096u + 5u);
  const std::string head(
      "HADALBLB\x01\0\0\0\x10\0\0\0packedwt\x88\x77\x66\x55\x44\x33\x22\x11\0\xff\xee\xdd\xcc\xbb\xaa\x99"
      "\x05\0\0\0\0\0\0\0",
      48);
  EXPECT_EQ(bytes.substr(0, 48), head);
  EXPECT_EQ(bytes.substr(48, 16), std::string("\x9D\\:,\xED\xBDK\x06\xC0\xEC^\xCB\xAE\xB3\x14\x97", 16));
  EXPECT_EQ(bytes.substr(64, 4096 - 64), std::string(4096 - 64, '\0'));
  EXPECT_EQ(bytes.substr(4096), "hadal");
}

TEST_F(CheckedBlobTest, EveryDamagedByteOfTheHeadIsSeen) {
  ASSERT_TRUE(CheckedBlob::write(path_, key_, view("some content")));
  const std::string good = read();
  for (std::size_t i = 0; i < 64; ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x20);
    write(bad);
    EXPECT_FALSE(CheckedBlob::open(path_, key_, 12)) << "byte " << i;
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{47}, std::size_t{60}, good.size() - 1}) {
    write(good.substr(0, size));
    EXPECT_FALSE(CheckedBlob::open(path_, key_, 12)) << size;
  }
  write(good + "x");
  EXPECT_FALSE(CheckedBlob::open(path_, key_, 12));
}

TEST_F(CheckedBlobTest, DamagedContentIsSeenByItsChunk) {
  ASSERT_TRUE(CheckedBlob::write(path_, key_, view(std::string(CheckedBlob::kChunk + 10, 'a'))));
  std::string bytes = read();
  bytes.back() ^= 1;
  write(bytes);
  auto blob = CheckedBlob::open(path_, key_, CheckedBlob::kChunk + 10);
  ASSERT_TRUE(blob);
  EXPECT_TRUE(blob->chunk_holds(0));
  EXPECT_FALSE(blob->chunk_holds(1));
}

TEST_F(CheckedBlobTest, AnotherKeyIsAnotherContent) {
  ASSERT_TRUE(CheckedBlob::write(path_, key_, view("x")));
  BlobKey other = key_;
  other.made_from ^= 1;
  EXPECT_FALSE(CheckedBlob::open(path_, other, 1));
  other = key_;
  other.arrangement ^= 1;
  EXPECT_FALSE(CheckedBlob::open(path_, other, 1));
  other = key_;
  other.kind[0] = 'q';
  EXPECT_FALSE(CheckedBlob::open(path_, other, 1));
  EXPECT_FALSE(CheckedBlob::open(path_, key_, 2));
  EXPECT_TRUE(CheckedBlob::open(path_, key_, 1));
  EXPECT_EQ(CheckedBlob::open(path_ + ".no", key_, 1).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace hadal
