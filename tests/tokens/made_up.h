// A small tokenizer.json made by tests: all 256 bytes, some merges, some added tokens.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tokens/byte_alphabet.h"
#include "tokens/samples.h"

namespace hadal::test {

using nlohmann::json;

inline json added_token(int id, const std::string& content, bool special = false) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// Ids: bytes 0..255 in byte order, merges from 256, then the added tokens. Merges are pairs of byte strings.
inline json made_up_json(const std::vector<std::pair<std::string, std::string>>& merges,
                         const std::vector<std::string>& added = {}) {
  // Everything around the model is the nano tokenizer's.
  json document = json::parse(read_text(nano_json_path()));
  document["added_tokens"] = json::array();
  auto& model = document["model"];
  model["vocab"] = json::object();
  model["merges"] = json::array();
  int id = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    model["vocab"][tokens::printable_of_bytes({&one, 1})] = id++;
  }
  for (const auto& [left, right] : merges) {
    model["vocab"][tokens::printable_of_bytes(left + right)] = id++;
    model["merges"].push_back(tokens::printable_of_bytes(left) + " " + tokens::printable_of_bytes(right));
  }
  for (const std::string& content : added) document["added_tokens"].push_back(added_token(id++, content));
  return document;
}

inline std::shared_ptr<const Tokenizer> load_json(const json& document) {
  auto tokenizer = Tokenizer::from_json(document.dump(), "made up");
  if (!tokenizer) throw std::runtime_error(tokenizer.error().what);
  return *tokenizer;
}

// The error of loading `document`, or an empty string.
inline std::string refusal(const json& document) {
  const auto tokenizer = Tokenizer::from_json(document.dump(), "made up");
  return tokenizer ? "" : tokenizer.error().what;
}

}  // namespace hadal::test
