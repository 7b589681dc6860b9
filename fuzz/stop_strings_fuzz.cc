// Stop strings against their definition: the input holds strings, text and where to cut it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "sampling/stop_strings.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal;
  // Fields are separated by 0xff: up to three strings, then pieces of text.
  std::vector<std::string> fields(1);
  for (std::size_t i = 0; i < size && i < 4096; ++i) {
    if (data[i] == 0xff) {
      fields.emplace_back();
    } else {
      fields.back() += static_cast<char>(data[i]);
    }
  }
  const std::size_t count = fields.size() < 4 ? fields.size() - 1 : 3;
  std::vector<std::string> strings(fields.begin(), fields.begin() + static_cast<std::ptrdiff_t>(count));
  auto made = StopStrings::make(strings);
  if (!made) return 0;
  std::string text, out;
  int stop = -1;
  for (std::size_t i = count; i < fields.size(); ++i) {
    text += fields[i];
    auto step = made->feed(fields[i]);
    out += step.text;
    if (step.stop >= 0) stop = step.stop;
  }
  out += made->finish();

  std::size_t end = std::string::npos, length = 0;
  for (const auto& s : strings) {
    const std::size_t at = text.find(s);
    if (at == std::string::npos) continue;
    if (at + s.size() < end || (at + s.size() == end && s.size() > length)) {
      end = at + s.size();
      length = s.size();
    }
  }
  const std::string want = end == std::string::npos ? text : text.substr(0, end - length);
  if (out != want || (stop >= 0) != (end != std::string::npos)) std::abort();
  return 0;
}
