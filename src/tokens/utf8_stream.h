// Turns bytes that come in any portions into text: U+FFFD for ill-formed sequences, unfinished characters held back.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal {

class Utf8Stream {
 public:
  // Appends to `out` all text that is certain now. Each maximal ill-formed subsequence becomes one U+FFFD; an
  // incomplete but so far valid character at the end stays pending.
  void push(std::string_view bytes, std::string& out);

  // The end: a pending character becomes one U+FFFD. The stream is empty again.
  void finish(std::string& out);

  std::string_view pending() const { return {pending_.data(), pending_count_}; }  // 0..3 bytes

 private:
  void hold(std::string_view truncated);  // 1..3 bytes

  std::array<char, 3> pending_{};
  std::uint8_t pending_count_ = 0;
};

}  // namespace hadal
