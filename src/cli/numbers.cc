#include "cli/numbers.h"

#include <fmt/core.h>

namespace hadal::cli {

std::string grouped(double x, int digits) {
  std::string text = fmt::format("{:.{}f}", x, digits);
  std::size_t point = text.find('.');
  if (point == std::string::npos) point = text.size();
  for (std::size_t at = point; at > 3 && at - 3 > (text[0] == '-' ? 1u : 0u); at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string bytes_text(double b) {
  if (b >= 999.5e9) return fmt::format("{:.3f} TB", b / 1e12);
  if (b >= 999.5e6) return fmt::format("{:.2f} GB", b / 1e9);
  if (b >= 999.5e3) return fmt::format("{:.2f} MB", b / 1e6);
  return fmt::format("{:.1f} kB", b / 1e3);
}

std::string percent(double share) { return fmt::format("{:.{}f} %", 100 * share, share < 0.0995 ? 2 : 1); }

std::string operations(double x) {
  return x >= 999.5e6 ? fmt::format("{:.1f} G", x / 1e9) : fmt::format("{:.2f} M", x / 1e6);
}

std::string rate(double tokens_per_second) {
  return fmt::format("{:.{}f} tokens/s", tokens_per_second, tokens_per_second < 10 ? 2 : 0);
}

std::string parameters(double n) {
  return n >= 1e9 ? fmt::format("{:.2f} B", n / 1e9) : fmt::format("{:.2f} M", n / 1e6);
}

std::string duration(double s) {
  if (s < 1) return fmt::format("{:.2f} s", s);
  if (s < 100) return fmt::format("{:.0f} s", s);
  return s < 5400 ? fmt::format("{:.0f} min", s / 60) : fmt::format("{:.1f} h", s / 3600);
}

}  // namespace hadal::cli
