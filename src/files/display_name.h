// Names that come from files, made safe to print in an error: shortened, no control characters.
#pragma once

#include <string>
#include <string_view>

namespace hadal {

inline std::string display_name(std::string_view text) {
  constexpr std::size_t kMost = 120;  // a release tensor name has under 60 bytes
  std::string out(text.substr(0, kMost));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  if (text.size() > kMost) out.append("...");
  return out;
}

}  // namespace hadal
