// The release's tokenizer against all golden vectors.
#include <openssl/sha.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "tokens/samples.h"

namespace hadal {
namespace {

using test::numbers;
using test::official;

std::vector<TokenId> to_ids(const nlohmann::json& list) {
  std::vector<TokenId> ids;
  for (const auto& id : list) ids.push_back(TokenId{id.get<std::int32_t>()});
  return ids;
}

nlohmann::json cases(const std::string& file) {
  return nlohmann::json::parse(test::read_text(test::golden_path("tokenizer/" + file))).at("cases");
}

TEST(OfficialTokenizer, EncodesTheGoldenTexts) {
  HADAL_NEEDS_OFFICIAL();
  const auto all = cases("encode.json");
  ASSERT_EQ(all.size(), 301u);
  for (const auto& c : all) {
    const std::string text = c.at("text");
    const auto ids = official()->encode(text);
    EXPECT_EQ(numbers(ids), c.at("ids").get<std::vector<std::int32_t>>()) << c.at("id") << ": " << text;
    EXPECT_EQ(official()->decode(ids).value(), text) << c.at("id");
  }
}

TEST(OfficialTokenizer, EncodesTheGoldenTextsLiterally) {
  HADAL_NEEDS_OFFICIAL();
  for (const auto& c : cases("encode-literal.json")) {
    const std::string text = c.at("text");
    const auto ids = official()->encode_literal(text);
    EXPECT_EQ(numbers(ids), c.at("ids").get<std::vector<std::int32_t>>()) << c.at("id") << ": " << text;
    for (TokenId id : ids) EXPECT_FALSE(official()->is_added(id)) << c.at("id");
  }
}

TEST(OfficialTokenizer, StreamsTheGoldenDeltas) {
  HADAL_NEEDS_OFFICIAL();
  const auto all = cases("decode-stream.json");
  ASSERT_EQ(all.size(), 44u);
  for (const auto& c : all) {
    StreamDecoder decoder(*official());
    std::vector<std::string> deltas;
    for (TokenId id : to_ids(c.at("ids"))) {
      std::string delta;
      ASSERT_TRUE(decoder.push(id, delta));
      deltas.push_back(delta);
    }
    std::string tail;
    decoder.finish(tail);
    EXPECT_EQ(deltas, c.at("deltas").get<std::vector<std::string>>()) << c.at("id");
    EXPECT_EQ(tail, c.at("tail").get<std::string>()) << c.at("id");
  }
}

// SHA-256 of the ids as little-endian 32-bit integers, as in the vectors.
std::string fingerprint(const std::vector<TokenId>& ids) {
  std::vector<unsigned char> bytes;
  for (TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<unsigned char>(to_int(id) >> shift));
  }
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(bytes.data(), bytes.size(), digest);
  std::string hex;
  for (unsigned char b : digest) hex += fmt::format("{:02x}", b);
  return hex;
}

TEST(OfficialTokenizer, EncodesTheChatPrompts) {
  HADAL_NEEDS_OFFICIAL();
  std::map<std::string, std::string> prompts;
  for (const auto& file : std::filesystem::directory_iterator(test::external_golden() + "/chat")) {
    const auto document = nlohmann::json::parse(test::read_text(file.path()));
    for (const auto& c : document.at("cases")) {
      if (c.contains("prompt")) prompts[c.at("id")] = c.at("prompt");
    }
  }
  const auto all = cases("chat-prompts.json");
  ASSERT_EQ(all.size(), 97u);
  for (const auto& c : all) {
    const std::string name = c.at("case");
    ASSERT_TRUE(prompts.contains(name)) << name;
    const auto ids = official()->encode(prompts[name]);
    EXPECT_EQ(ids.size(), c.at("n").get<std::size_t>()) << name;
    EXPECT_EQ(fingerprint(ids), c.at("sha256").get<std::string>()) << name;
    if (!c.contains("ids")) continue;
    EXPECT_EQ(numbers(ids), c.at("ids").get<std::vector<std::int32_t>>()) << name;
  }
}

}  // namespace
}  // namespace hadal
