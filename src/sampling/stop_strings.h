// Finds stop strings in streamed text. Text that might still become a stop string is held back, so nothing has to be
// taken back once emitted, and the result does not depend on how the text was cut into pieces.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hadal {

// An Aho-Corasick automaton over bytes. The first stop string to be complete ends the text; of several that end at the
// same byte the longest counts.
class StopStrings {
 public:
  // Refuses empty strings, more than 64 strings, or more than 64 KiB in all.
  static Result<StopStrings> make(std::vector<std::string> strings);

  StopStrings() = default;  // finds nothing, holds nothing back

  struct Step {
    std::string text;  // safe to emit
    int stop = -1;     // index of the stop string that was completed; its own text is not in `text`
  };

  // The next piece of text. After a stop everything further is ignored.
  Step feed(std::string_view piece);

  // The end of the text: what was held back is safe after all.
  std::string finish();

  // Bytes held back now.
  std::size_t held() const { return held_.size(); }

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::int32_t>> next;  // trie edges, ascending by byte
    std::int32_t fail = 0;                                     // longest proper suffix that is a prefix of some string
    std::int32_t depth = 0;                                    // bytes of the prefix this node stands for
    std::int32_t match = -1;                                   // longest string that ends here
  };
  std::int32_t child(std::int32_t node, unsigned char byte) const;  // -1: none
  std::int32_t step(std::int32_t node, unsigned char byte) const;

  std::vector<std::string> strings_;
  std::vector<Node> nodes_{1};
  std::int32_t state_ = 0;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace hadal
