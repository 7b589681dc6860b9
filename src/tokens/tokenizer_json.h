// Reads tokenizer.json as the DeepSeek releases write it, and refuses every other kind of tokenizer by name.
// Source: Hugging Face tokenizers' serialisation, version "1.0".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::tokens {

// Ids are below this, so that a hostile file cannot make large tables; the releases have 129280. A rank fits 21 bits.
inline constexpr std::int64_t kMaxIds = std::int64_t{1} << 20;
// Longest token, in bytes: 128 in the releases. Bounds the work per byte of text.
inline constexpr std::size_t kMaxTokenBytes = 1024;

struct VocabularyEntry {
  std::string_view printable;  // byte alphabet (tokens/byte_alphabet.h), or the content of an added token
  std::int32_t id;             // 0..kMaxIds-1
};

struct MergeEntry {
  std::string_view left, right;  // byte alphabet, in the file's order: the first has the highest priority
};

struct AddedTokenEntry {
  std::string_view content;  // UTF-8, not empty
  std::int32_t id;           // 0..kMaxIds-1
  bool special;
};

// The content of the file: checked in structure and types, not yet against itself.
struct TokenizerJson {
  std::vector<VocabularyEntry> vocabulary;
  std::vector<MergeEntry> merges;
  std::vector<AddedTokenEntry> added;
  std::shared_ptr<const void> storage;  // owns what the views show
};

// `where` names the file in errors.
Result<TokenizerJson> parse_tokenizer_json(std::string_view json, const std::string& where);

}  // namespace hadal::tokens
