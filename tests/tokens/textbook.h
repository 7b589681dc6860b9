// The tokenizer as a textbook would write it, for comparison: three regular-expression passes spelled out on lists of
// characters, and merging of the lowest-ranked pair until none is left. Slow, and shares with src/tokens only the table
// of character classes.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace hadal::test {

// The pieces of `text` after all three passes.
std::vector<std::string> textbook_split(const std::string& text);

class TextbookBpe {
 public:
  // Reads model.vocab and model.merges of a tokenizer.json.
  explicit TextbookBpe(const nlohmann::json& tokenizer);

  std::vector<TokenId> merge(const std::string& piece) const;
  // All pieces of a text; no added tokens.
  std::vector<TokenId> encode(const std::string& text) const;

 private:
  std::map<std::pair<std::string, std::string>, int> ranks_;
  std::map<std::string, int> ids_;  // by printable text
  std::string printable_[256];
};

}  // namespace hadal::test
