// Why a prompt is not in the cache: where it parts from the nearest line that is, and in which message.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "serve/prompt.h"
#include "tokens/tokenizer.h"

namespace hadal::serve {

struct Parting {
  Position agree = 0;                // tokens that are the same
  std::vector<TokenId> asked, kept;  // what comes after them on both sides, a few; empty: that side ends
};

struct PartingText {
  std::string place;        // "message 3 (assistant)"; "the header" before the first, "the end" when nothing parts
  Position into = 0;        // tokens of that message before the difference
  std::string asked, kept;  // text from the first byte that differs; whole pieces where only the tokens differ
  bool same_text = false;   // the tokens differ and the text does not, as far as it goes
};
PartingText describe(const Tokenizer& tokenizer, const Parting& parting, const MessagePlaces& places);

// The same as members of a JSON object.
std::string parting_members(const Tokenizer& tokenizer, const Parting& parting, const MessagePlaces& places);

// The nearest of some lines of tokens.
class Nearest {
 public:
  explicit Nearest(std::span<const TokenId> prompt) : prompt_(prompt) {}
  // True: this line agrees with more than those before it.
  bool offer(std::span<const TokenId> line);
  const Parting& parting() const { return parting_; }

 private:
  std::span<const TokenId> prompt_;
  Parting parting_;
  bool any_ = false;
};

}  // namespace hadal::serve
